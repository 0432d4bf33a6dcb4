//! The proxy between real sockets, with a destination that writes down what arrives. guardd's part is spoken here.

mod answers;
mod crowds;
mod frames;
mod holes;
mod http1;
mod http2;
mod https;
mod parts;

use std::{
    cell::RefCell,
    io::{Seek as _, Write as _},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use guard_common::NetnsCookie;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{LocalSet, spawn_local},
};

use super::{
    client::{ConnectionContext, Redirected},
    connection::serve_to,
    judge::Rules,
    link::GuarddLink,
    networks::Network,
    room::Room,
    tls::Tls,
    wire::{
        AskAnswer, Entry, HttpAttempt, NetworkId, Passing, RedirectTarget, TargetTerms, Tgid,
        ToDaemon,
    },
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// What guardd does, for a test.
#[derive(Default)]
struct Guardd {
    terms: RefCell<Option<TargetTerms>>,
    /// The answer to each question; where there is none they wait.
    answer: RefCell<Option<AskAnswer>>,
    /// What judges requests for a name beside the terms.
    of_names: RefCell<Vec<Rules>>,
    /// Until when no other new name is judged, in nanoseconds of boot time.
    judges_again: RefCell<Option<u64>>,
    /// Names that it was asked about.
    names: RefCell<usize>,
    asked: RefCell<Vec<HttpAttempt>>,
    logged: RefCell<Vec<Entry>>,
    gone: RefCell<usize>,
    heard: Notify,
}

impl Guardd {
    /// Waits until a person is asked about one request.
    async fn is_asked(&self) {
        self.until("asked", |guardd| guardd.asked.borrow().len() == 1)
            .await;
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let heard = self.heard.notified();
                if is_so(self) {
                    return;
                }
                heard.await;
            }
        };
        let done = tokio::time::timeout(TIMEOUT, waiting).await;
        done.unwrap_or_else(|_| panic!("not so: {what}"));
    }
}

/// A proxy, and what it is between.
struct Lab {
    guardd: Rc<Guardd>,
    link: Rc<GuarddLink>,
    tls: Rc<Tls>,
    room: Arc<Room>,
    at: SocketAddr,
}

fn read_only() -> Option<TargetTerms> {
    let rules = Rules {
        name: Some("photos".to_owned()),
        ..Rules::default()
    };
    Some(TargetTerms {
        passing: Passing::Judged(vec![rules]),
        account: 1,
        writes: false,
        by_sni: false,
        names: false,
        until: None,
    })
}

fn rules_of(terms: &mut TargetTerms) -> &mut Vec<Rules> {
    match &mut terms.passing {
        Passing::Judged(rules) => rules,
        Passing::Everything => panic!("no rule judges"),
    }
}

fn everything() -> Option<TargetTerms> {
    Some(TargetTerms {
        passing: Passing::Everything,
        account: 1,
        writes: false,
        by_sni: false,
        names: false,
        until: None,
    })
}

fn no() -> Option<AskAnswer> {
    Some(AskAnswer::No {
        request: Some("r5".to_owned()),
        why: "a person has to confirm it".to_owned(),
        fix: "guard why".to_owned(),
    })
}

impl Lab {
    /// A proxy whose every connection goes to `to`.
    async fn new(terms: Option<TargetTerms>, answer: Option<AskAnswer>, to: SocketAddr) -> Self {
        Self::trusting(terms, answer, to, "").await
    }

    /// The same, where destinations may have one of these certificates.
    async fn trusting(
        terms: Option<TargetTerms>,
        answer: Option<AskAnswer>,
        to: SocketAddr,
        certificates: &str,
    ) -> Self {
        let key = tempfile::tempfile().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(certificates.as_bytes()).unwrap();
        file.rewind().unwrap();
        let tls = Rc::new(Tls::new(key.into(), vec![file.into()]).unwrap());
        let link = Rc::new(GuarddLink::new());
        let guardd = Rc::new(Guardd {
            terms: RefCell::new(terms),
            answer: RefCell::new(answer),
            ..Guardd::default()
        });
        spawn_local(speak(Rc::clone(&link), Rc::clone(&guardd)));
        let room = Arc::default();
        let (proxy, speaks, rooms) = (Rc::clone(&link), Rc::clone(&tls), Arc::clone(&room));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let target = RedirectTarget {
            session: 1,
            address: to.ip(),
            port: to.port(),
            listener: 0,
        };
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let network = Rc::new(Network::new(NetworkId(0), NetnsCookie(0)));
                let context = ConnectionContext::new(
                    Rc::clone(&proxy),
                    Redirected {
                        target,
                        tgid: Tgid::default(),
                    },
                    network,
                    Arc::clone(&rooms),
                    Rc::default(),
                );
                spawn_local(serve_to(context, Rc::clone(&speaks), stream, |_| Ok(None)));
            }
        });
        Self {
            guardd,
            link,
            tls,
            room,
            at,
        }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// What comes back for these bytes until the connection is closed, or for as long as it takes to be sure.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.client().await;
        stream.write_all(bytes).await.unwrap();
        let mut got = Vec::new();
        let all = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut got)).await;
        // That the connection is reset says as much as that it is closed.
        let _ = all.expect("the connection stays open");
        String::from_utf8_lossy(&got).into_owned()
    }
}

async fn speak(link: Rc<GuarddLink>, guardd: Rc<Guardd>) {
    let mut unsent = link.take_unsent();
    while let Some(said) = unsent.recv().await {
        match said {
            ToDaemon::Reached { number, .. } => link.reached(number, true),
            ToDaemon::Terms { number, .. } => {
                link.told(number, guardd.terms.borrow().clone(), None);
            }
            ToDaemon::Ask {
                number, request, ..
            } => {
                guardd.asked.borrow_mut().push(request);
                if let Some(answer) = guardd.answer.borrow().clone() {
                    link.answered(number, answer);
                }
            }
            ToDaemon::Name { number, name, .. } => {
                let is_allowed = name.ends_with("photos.example");
                let why = (!is_allowed).then(|| format!("{name} is none"));
                let rules = guardd.of_names.borrow().clone();
                *guardd.names.borrow_mut() += 1;
                link.named(number, why, rules, *guardd.judges_again.borrow());
            }
            ToDaemon::Gone { .. } => *guardd.gone.borrow_mut() += 1,
            ToDaemon::Log { entry, .. } => guardd.logged.borrow_mut().push(entry),
            ToDaemon::LeftOut { .. } | ToDaemon::Reads { .. } => {}
            ToDaemon::Sockets { .. } => panic!("its own network needs no sockets"),
            ToDaemon::Hello { .. } => panic!("the link begins when that is said"),
            ToDaemon::Vouched { .. } => panic!("nobody has asked for a certificate"),
        }
        guardd.heard.notify_waiters();
    }
}

/// A destination that writes down each byte.
struct Destination {
    at: SocketAddr,
    /// By connection.
    arrived: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Destination {
    /// Answers with `answer` each time that what arrived ends with `end`, and closes after `answers` of them.
    async fn new(end: &'static [u8], answer: &'static [u8], answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let arrived: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
        let all = Rc::clone(&arrived);
        spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let number = all.borrow().len();
                all.borrow_mut().push(Vec::new());
                let all = Rc::clone(&all);
                spawn_local(async move {
                    let mut left = answers;
                    let mut part = vec![0; 65536];
                    while left > 0 {
                        let Ok(got @ 1..) = stream.read(&mut part).await else {
                            return;
                        };
                        let ends = {
                            let arrived = &mut all.borrow_mut()[number];
                            arrived.extend_from_slice(&part[..got]);
                            arrived.ends_with(end)
                        };
                        if ends {
                            stream.write_all(answer).await.unwrap();
                            left -= 1;
                        }
                    }
                });
            }
        });
        Self { at, arrived }
    }

    /// All that arrived, on whichever connection.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.arrived.borrow().concat()).into_owned()
    }
}

async fn here<T>(work: impl Future<Output = T>) -> T {
    let tasks = LocalSet::new();
    let done = tokio::time::timeout(3 * TIMEOUT, tasks.run_until(work));
    done.await.expect("it hangs")
}
