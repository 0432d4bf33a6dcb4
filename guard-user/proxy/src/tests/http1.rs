//! HTTP/1, byte for byte.

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd-Case: 1\r\n\r\nok";

#[tokio::test]
async fn a_read_passes_as_it_is() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 2).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let head = "GET /api/assets?size=1 HTTP/1.1\r\nHost: photos\r\nX-Odd-Case: yes\r\n\r\n";
        let mut client = lab.client().await;
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; OK.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, OK);
        assert_eq!(to.text(), head);
    })
    .await;
}

/// Whoever sends much that takes long to be judged waits behind itself alone.
#[tokio::test]
async fn an_account_waits_for_its_own_turn_and_others_do_not() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 2).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let turn = lab.room.turn(1).await;
        let get = |path| format!("GET {path} HTTP/1.1\r\nHost: photos\r\n\r\n").into_bytes();
        let mut own = lab.client().await;
        own.write_all(&get("/own")).await.unwrap();
        let waits = async {
            while !lab.room.is_waited_for(1) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, waits).await.unwrap();
        let others = TargetTerms {
            account: 2,
            ..read_only().unwrap()
        };
        *lab.guardd.terms.borrow_mut() = Some(others);
        lab.link.renew();
        let mut other = lab.client().await;
        other.write_all(&get("/other")).await.unwrap();
        let mut answer = [0; OK.len()];
        other.read_exact(&mut answer).await.unwrap();
        assert_eq!(to.text().lines().next(), Some("GET /other HTTP/1.1"));
        assert!(!to.text().contains("/own"));
        turn.end().await;
        own.read_exact(&mut answer).await.unwrap();
        assert!(to.text().contains("GET /own"));
    })
    .await;
}

#[tokio::test]
async fn a_write_is_stopped_and_nothing_of_it_arrives() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 9).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let body = r#"{"command":"start","force":true}"#;
        let put = format!(
            "PUT /api/jobs/thumbnailGeneration HTTP/1.1\r\nHost: photos\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // What the destination would have got without the proxy.
        let mut direct = TcpStream::connect(to.at).await.unwrap();
        direct.write_all(put.as_bytes()).await.unwrap();
        let arrives = async {
            while !to.text().ends_with(body) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, arrives).await.unwrap();
        to.arrived.borrow_mut().iter_mut().for_each(Vec::clear);

        let answer = lab.exchange(put.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        let (_, problem) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
        assert_eq!(problem["rule"], "photos");
        assert_eq!(problem["request"], "r5");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.ends_with("; a person has to confirm it"), "{detail}");
        let asked = lab.guardd.asked.borrow()[0].clone();
        assert_eq!((asked.method.as_str(), asked.bytes), ("PUT", Some(32)));
        assert_eq!(asked.path, "/api/jobs/thumbnailGeneration");
        assert_eq!(asked.body_preview.as_deref(), Some(body));
        assert_eq!(to.text(), "");
    })
    .await;
}

/// A yes after the client has gone is for exactly that body, whatever its length; a longer one is asked about all the same.
#[tokio::test]
async fn a_body_is_digested_to_its_end_while_there_is_memory_to_spare() {
    for (length, sent, is_digested) in [
        (65_537, 65_537, true),
        (1 << 20, 1 << 20, true),
        (25 << 20, 100_000, false),
    ] {
        here(async {
            let to = Destination::new(b"\r\n\r\n", OK, 1).await;
            let lab = Lab::new(read_only(), no(), to.at).await;
            let (_answer, mut client) = tokio::io::split(lab.client().await);
            let head =
                format!("PUT /x HTTP/1.1\r\nHost: photos\r\nContent-Length: {length}\r\n\r\n");
            let body = vec![b'x'; sent];
            tokio::task::spawn_local(async move {
                let _ = client.write_all(head.as_bytes()).await;
                let _ = client.write_all(&body).await;
                std::future::pending::<()>().await;
            });
            lab.guardd.is_asked().await;
            let asked = lab.guardd.asked.borrow()[0].clone();
            assert_eq!(asked.bytes, Some(length));
            assert_eq!(asked.digest.is_some(), is_digested, "{length}");
        })
        .await;
    }
}

/// Two requests that differ in a password alone look the same to a person, and are two.
#[tokio::test]
async fn passwords_are_left_out_of_what_a_person_sees_and_count_in_the_digest() {
    let ask = async |password: &str| {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let body = format!(r#"{{"user":"admin","password":"{password}"}}"#);
        let post = format!(
            "POST /login?a=1&token=abc HTTP/1.1\r\nHost: photos\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        lab.exchange(post.as_bytes()).await;
        lab.guardd.asked.borrow()[0].clone()
    };
    here(async {
        let (one, other) = (ask("Zq-one").await, ask("Zq-two").await);
        let shown = r#"{"user":"admin","password":"***"}"#;
        assert_eq!(one.body_preview.as_deref(), Some(shown));
        assert_eq!(
            one.body_form.as_deref(),
            Some("*** for passwords and tokens")
        );
        assert_eq!(one.path, "/login?a=1&token=***");
        assert_eq!(
            (&one.path, &one.body_preview),
            (&other.path, &other.body_preview)
        );
        assert!(one.digest.is_some() && one.digest != other.digest);
    })
    .await;
}

/// kubectl shows the `message` of a `Status`, and of anything else `unknown`.
#[tokio::test]
async fn where_kubernetes_is_spoken_the_answer_is_a_status_of_that() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let mut terms = read_only().unwrap();
        rules_of(&mut terms)[0].profiles = vec![guard_policy::Profile::Kubernetes];
        rules_of(&mut terms)[0].reason = Some("the cluster".to_owned());
        let lab = Lab::new(Some(terms), no(), to.at).await;
        let delete = b"DELETE /api/v1/namespaces/default/pods/web HTTP/1.1\r\nHost: cluster\r\nConnection: close\r\n\r\n";
        let answer = lab.exchange(delete).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        let (head, status) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("application/json"), "{head}");
        let status: serde_json::Value = serde_json::from_str(status).unwrap();
        for (name, value) in [
            ("kind", "Status"),
            ("apiVersion", "v1"),
            ("status", "Failure"),
            ("reason", "Forbidden"),
            ("request", "r5"),
        ] {
            assert_eq!(status[name], value);
        }
        assert_eq!(status["code"], 403);
        let message = status["message"].as_str().unwrap();
        assert!(
            message.starts_with("stopped by guard (rule photos: the cluster): the profile"),
            "{message}"
        );
        assert!(message.ends_with("; guard why"), "{message}");
        assert_eq!(to.text(), "");
    })
    .await;
}

/// What is built on botocore shows the `message` of an answer, and of what has none nothing.
#[tokio::test]
async fn where_aws_is_spoken_the_answer_has_its_message() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let mut terms = read_only().unwrap();
        rules_of(&mut terms)[0].profiles = vec![guard_policy::Profile::Aws];
        let lab = Lab::new(Some(terms), no(), to.at).await;
        let put = b"PUT /b/k HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n\r\n";
        let answer = lab.exchange(put).await;
        let (_, problem) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
        assert_eq!(
            (&problem["status"], &problem["request"]),
            (&403.into(), &"r5".into())
        );
        let message = problem["message"].as_str().unwrap();
        assert!(
            message.starts_with("stopped by guard (rule photos): PUT may change something"),
            "{message}"
        );
        assert_eq!(to.text(), "");
    })
    .await;
}

#[tokio::test]
async fn a_yes_sends_just_what_was_shown() {
    // hyper by itself would send a GET with neither a length nor the body.
    for method in ["POST", "GET", "OPTIONS"] {
        here(async {
            let to = Destination::new(b": 7\r\n\r\n", OK, 1).await;
            let lab = Lab::new(read_only(), None, to.at).await;
            let mut client = lab.client().await;
            let head = format!("{method} /x HTTP/1.1\r\nHost: photos\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client
                .write_all(b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")
                .await
                .unwrap();
            lab.guardd.is_asked().await;
            let asked = lab.guardd.asked.borrow()[0].clone();
            assert_eq!(asked.body_preview.as_deref(), Some("hello"));
            assert!(asked.digest.is_some());
            assert_eq!(to.text(), "");
            lab.link
                .answered(guard_proto::wire::Number(2), AskAnswer::Yes);
            let mut got = [0; 15];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"HTTP/1.1 200 OK");
            let arrived = to.text();
            let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(method), "{head}");
            assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
        })
        .await;
    }
}

#[tokio::test]
async fn who_leaves_while_it_waits_takes_the_request_along() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), None, to.at).await;
        let mut client = lab.client().await;
        let head = b"DELETE /x HTTP/1.1\r\nHost: photos\r\n\r\n";
        client.write_all(head).await.unwrap();
        lab.guardd.is_asked().await;
        drop(client);
        lab.guardd
            .until("gone", |guardd| *guardd.gone.borrow() == 1)
            .await;
        assert_eq!(to.text(), "");
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_connection_go_over_one_connection() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 3).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let answers = lab
            .exchange(&b"GET / HTTP/1.1\r\nHost: photos\r\n\r\n".repeat(3))
            .await;
        assert_eq!(answers.matches("200 OK").count(), 3, "{answers}");
        assert_eq!(to.arrived.borrow().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn nothing_passes_where_no_terms_are_known() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(None, no(), to.at).await;
        assert_eq!(lab.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
        assert!(to.arrived.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_is_not_there_is_said_to_be_so() {
    here(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = closed.local_addr().unwrap();
        drop(closed);
        let lab = Lab::new(read_only(), no(), at).await;
        let answer = lab
            .exchange(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer}"
        );
        assert!(answer.contains("Connection refused"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http_is_closed_and_written_down() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        for (first, why) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "TLS"),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", "not HTTP"),
        ] {
            assert_eq!(lab.exchange(first).await, "");
            let logged = lab.guardd.logged.borrow_mut().pop().unwrap();
            let logged = logged.why.unwrap();
            assert!(logged.contains(why), "{logged}");
        }
        assert_eq!(to.text(), "");
    })
    .await;
}

#[tokio::test]
async fn what_has_two_readings_is_refused_with_all_that_follows() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 9).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        for (fields, status) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Content-Length: +5\r\n", 400),
            ("A: b\n", 400),
            ("A: b\r\n c\r\n", 400),
        ] {
            let bytes = format!(
                "GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /odd HTTP/1.1\r\nHost: x\r\n{fields}\r\n0\r\n\r\n{smuggled}"
            );
            let answer = lab.exchange(bytes.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{fields}: {answer}");
            assert!(answer.contains(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
            let arrived = to.text();
            assert!(arrived.contains("GET /first") && !arrived.contains("/odd"), "{arrived}");
            assert!(!arrived.contains("/smuggled"), "{fields}: {arrived}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_lies_about_lengths_is_cut_off() {
    here(async {
        let lies: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok";
        let to = Destination::new(b"\r\n\r\n", lies, 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = lab.exchange(head).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains("Content-Length is there twice"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_speaks_first_is_none_that_speaks_http() {
    here(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            let _ = stream.read(&mut [0]).await;
        });
        let lab = Lab::new(read_only(), no(), at).await;
        assert_eq!(lab.exchange(b"").await, "");
        let logged = lab.guardd.logged.borrow_mut().pop().unwrap();
        assert!(logged.why.unwrap().contains("speaks first"));
    })
    .await;
}

#[tokio::test]
async fn connections_that_become_something_else_are_joined() {
    here(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let got = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..got]).to_lowercase();
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"));
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi";
            stream.write_all(switch).await.unwrap();
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        let lab = Lab::new(everything(), no(), at).await;
        let mut client = lab.client().await;
        let head = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(head).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut got = Vec::new();
        tokio::time::timeout(TIMEOUT, client.read_to_end(&mut got))
            .await
            .unwrap()
            .unwrap();
        let got = String::from_utf8_lossy(&got);
        assert!(got.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\nhihello"), "{got}");
        let connection = "connection: upgrade\r\n";
        assert!(got.to_lowercase().contains(connection), "{got}");
    })
    .await;
}

#[tokio::test]
async fn a_yes_that_took_long_finds_a_connection() {
    here(async {
        // It closes what says nothing for a while, as servers do.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                spawn_local(async move {
                    let mut head = [0; 1024];
                    let read = stream.read(&mut head);
                    if let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_secs(3), read).await {
                        stream.write_all(OK).await.unwrap();
                    }
                });
            }
        });
        let lab = Lab::new(read_only(), None, at).await;
        let mut client = lab.client().await;
        let head = b"DELETE /x HTTP/1.1\r\nHost: photos\r\n\r\n";
        client.write_all(head).await.unwrap();
        lab.guardd.is_asked().await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        lab.link
            .answered(guard_proto::wire::Number(2), AskAnswer::Yes);
        let mut got = [0; 15];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"HTTP/1.1 200 OK");
    })
    .await;
}

#[tokio::test]
async fn a_body_without_an_end_is_asked_about() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let mut client = lab.client().await;
        let head = b"POST /stream HTTP/1.1\r\nHost: photos\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        client.write_all(head).await.unwrap();
        let mut got = [0; 12];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"HTTP/1.1 403");
        let asked = lab.guardd.asked.borrow()[0].clone();
        assert_eq!(asked.body_preview.as_deref(), Some("hello"));
        assert_eq!((asked.bytes, asked.digest), (None, None));
        assert_eq!(to.text(), "");
    })
    .await;
}

#[tokio::test]
async fn what_the_policy_has_come_to_deny_no_yes_lets_through() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), None, to.at).await;
        let mut client = lab.client().await;
        let head = b"DELETE /x HTTP/1.1\r\nHost: photos\r\nConnection: close\r\n\r\n";
        client.write_all(head).await.unwrap();
        lab.guardd.is_asked().await;
        let denies = guard_policy::HttpRule {
            method: vec!["DELETE".to_owned()],
            path: None,
            query: None,
            content_type: None,
            action: guard_policy::HttpAction::Deny,
        };
        if let Some(terms) = lab.guardd.terms.borrow_mut().as_mut() {
            rules_of(terms)[0].http.push(denies);
        }
        lab.link.renew();
        lab.link
            .answered(guard_proto::wire::Number(2), AskAnswer::Yes);
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert!(got.starts_with("HTTP/1.1 403 "), "{got}");
        assert_eq!(to.text(), "");
    })
    .await;
}

#[tokio::test]
async fn the_rules_for_its_host_judge_a_request_too() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let mut terms = read_only();
        if let Some(terms) = &mut terms {
            terms.names = true;
            rules_of(terms)[0].http.push(guard_policy::HttpRule {
                method: vec!["POST".to_owned()],
                path: None,
                query: None,
                content_type: None,
                action: guard_policy::HttpAction::Allow,
            });
        }
        let lab = Lab::new(terms, no(), to.at).await;
        let post = b"POST /x HTTP/1.1\r\nContent-Length: 0\r\nHost: photos.example\r\nConnection: close\r\n\r\n";
        let passes = lab.exchange(post).await;
        assert!(passes.starts_with("HTTP/1.1 200 "), "{passes}");
        let plain = Rules {
            name: Some("production".to_owned()),
            ..Rules::default()
        };
        *lab.guardd.of_names.borrow_mut() = vec![plain];
        lab.link.renew();
        let stopped = lab.exchange(post).await;
        assert!(stopped.starts_with("HTTP/1.1 403 "), "{stopped}");
        assert_eq!(rule(&stopped), "production");
        assert_eq!(lab.guardd.asked.borrow().len(), 1);
        assert_eq!(lab.guardd.asked.borrow()[0].rule, "production");
        // Of equally strict ones, too, the rule for the host is told of.
        let put = b"PUT /x HTTP/1.1\r\nContent-Length: 0\r\nHost: photos.example\r\nConnection: close\r\n\r\n";
        let stopped = lab.exchange(put).await;
        assert_eq!(rule(&stopped), "production");
        // And that of the address where it is the stricter one.
        if let Some(terms) = lab.guardd.terms.borrow_mut().as_mut() {
            rules_of(terms)[0].http.push(guard_policy::HttpRule {
                method: vec!["PUT".to_owned()],
                path: None,
                query: None,
                content_type: None,
                action: guard_policy::HttpAction::Deny,
            });
        }
        lab.link.renew();
        let denied = lab.exchange(put).await;
        assert_eq!(rule(&denied), "photos");
        let logged = || -> Vec<_> {
            let logged = lab.guardd.logged.borrow();
            logged.iter().filter_map(|one| one.rule.clone()).collect()
        };
        lab.guardd
            .until("all three are logged", |_| logged().len() == 3)
            .await;
        assert_eq!(logged(), ["production", "production", "photos"]);
    })
    .await;
}

/// The rule that an answer names.
fn rule(answer: &str) -> String {
    let (_, problem) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
    problem["rule"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn hosts_that_are_named_too_fast_are_refused_with_one_record() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let mut terms = read_only().unwrap();
        terms.names = true;
        let lab = Lab::new(Some(terms), no(), to.at).await;
        let get = |host: &str| {
            format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
        };
        let passes = lab.exchange(&get("photos.example")).await;
        assert!(passes.starts_with("HTTP/1.1 200 "), "{passes}");
        // Longer than this test.
        let until = guard_sys::clock::now().0 + 600_000_000_000;
        *lab.guardd.judges_again.borrow_mut() = Some(until);
        for number in 0..5 {
            let refused = lab.exchange(&get(&format!("n{number}.example"))).await;
            assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
            assert!(refused.contains("name fewer hosts"), "{refused}");
            assert_eq!(rule(&refused), "");
        }
        let passes = lab.exchange(&get("photos.example")).await;
        assert!(passes.starts_with("HTTP/1.1 200 "), "{passes}");
        lab.guardd
            .until("logged", |guardd| !guardd.logged.borrow().is_empty())
            .await;
        let logged = lab.guardd.logged.borrow();
        assert_eq!((logged.len(), logged[0].denied), (1, false));
        assert!(logged[0].no_rule);
        assert_eq!(logged[0].host.as_deref(), Some("n0.example"));
        // Of the one that is known, and of the first.
        assert_eq!(*lab.guardd.names.borrow(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_to_nothing_is_none() {
    here(async {
        for fields in [
            "Upgrade: ,\r\n",
            "Upgrade:\r\n",
            "Upgrade: \r\nUpgrade: h2c\r\n",
        ] {
            let to = Destination::new(b"\r\n\r\n", OK, 1).await;
            let lab = Lab::new(read_only(), no(), to.at).await;
            let head =
                format!("GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{fields}\r\n");
            let answer = lab.exchange(head.as_bytes()).await;
            assert!(!answer.contains(" 101 "), "{answer}");
            assert!(
                !to.text().to_lowercase().contains("upgrade"),
                "{}",
                to.text()
            );
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_says_where_else_it_may_go() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 1).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let head = "POST /k HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX-HTTP-Method-Override: PURGE\r\n\
                    X-Original-URL: /admin\r\nConnection: close\r\n\r\n";
        lab.exchange(head.as_bytes()).await;
        let asked = lab.guardd.asked.borrow()[0].clone();
        assert!(!asked.plain);
        let warnings = asked.warnings.join("; ");
        assert!(warnings.contains("PURGE") && warnings.contains("/admin"), "{warnings}");
        for path in ["/a/%2e%2e/b", "/a%2fb", "/%c0%ae"] {
            let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            lab.exchange(head.as_bytes()).await;
            assert!(!lab.guardd.asked.borrow().last().unwrap().plain, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_found_nobody_there_may_try_again_on_another_connection() {
    here(async {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = gone.local_addr().unwrap();
        drop(gone);
        let lab = Lab::new(read_only(), no(), at).await;
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        // It is closed by the proxy: the client would go on with it.
        let answer = lab.exchange(get).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        let back = TcpListener::bind(at).await.unwrap();
        spawn_local(async move {
            let (mut stream, _) = back.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
            stream.write_all(OK).await.unwrap();
            // What ends at once is answered with "Connection: close".
            let _ = stream.read(&mut [0; 1]).await;
        });
        let mut client = lab.client().await;
        client.write_all(get).await.unwrap();
        let mut answer = [0; OK.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, OK);
    })
    .await;
}

/// RFC 3986 2.1: what a query may not have is percent-encoded, which every server decodes to the same. curl does not.
#[tokio::test]
async fn what_a_query_may_not_have_is_encoded_and_judged_so() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", OK, 5).await;
        let denies = guard_policy::HttpRule {
            method: Vec::new(),
            path: None,
            query: Some("*x=\"1\"*".to_owned()),
            content_type: None,
            action: guard_policy::HttpAction::Deny,
        };
        let mut terms = read_only().unwrap();
        rules_of(&mut terms)[0].http.push(denies);
        let lab = Lab::new(Some(terms), no(), to.at).await;
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: photos\r\n\r\n");
        let raw = [
            "/q?query=up{job=\"a\"}",
            "/q?a<b>c",
            "/q?n=\u{fc}\u{65e5}",
            "/q?plain",
            "http://photos/q?\"",
        ];
        let answers = lab.exchange(raw.map(get).concat().as_bytes()).await;
        assert_eq!(answers.matches("200 OK").count(), raw.len(), "{answers}");
        let sent = [
            "/q?query=up{job=%22a%22}",
            "/q?a%3Cb%3Ec",
            "/q?n=%C3%BC%E6%97%A5",
            "/q?plain",
            "/q?%22",
        ];
        assert_eq!(to.text(), sent.map(get).concat());
        let denied = get("/q?x=\"1\"").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let denied = lab.exchange(denied.as_bytes()).await;
        assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
        let logged = lab.guardd.logged.borrow();
        assert_eq!(logged[0].path.as_deref(), Some("/q?x=%221%22"));
    })
    .await;
}

#[tokio::test]
async fn what_may_be_read_in_two_ways_is_not_encoded() {
    for target in [
        &b"/\"?a=b"[..],
        b"/<?a=\"",
        b"/\xc3\xbc?a=b",
        b"/?a=\xfc",
        b"/?a=#\"",
        b"/?a=\\\"\x7f",
        b"/?a=\" b",
    ] {
        here(async {
            let to = Destination::new(b"\r\n\r\n", OK, 9).await;
            let lab = Lab::new(read_only(), no(), to.at).await;
            let head = [b"GET ", target, b" HTTP/1.1\r\nHost: photos\r\n\r\n"].concat();
            let answer = lab.exchange(&head).await;
            let text = target.escape_ascii();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{text}: {answer}");
            assert_eq!(to.text(), "", "{text}");
        })
        .await;
    }
}
