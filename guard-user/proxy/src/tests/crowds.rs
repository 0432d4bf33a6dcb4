//! Many bodies at once that tell whether they read.

use guard_policy::Profile;

use super::*;

const QUERY: &str = "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                     Connection: close\r\nContent-Length: 15\r\n\r\n{\"query\":\"{a}\"}";

#[tokio::test]
async fn a_body_that_there_is_no_room_for_is_refused() {
    here(async {
        let to = Destination::new(b"}", b"HTTP/1.1 204 No Content\r\n\r\n", 1).await;
        let mut terms = read_only().unwrap();
        rules_of(&mut terms)[0].profiles = vec![Profile::Graphql];
        let lab = Lab::new(Some(terms), no(), to.at).await;
        let mut others = lab.room.taken(1);
        while others.take(1024) {}
        while others.take(1) {}
        for request in [QUERY, &QUERY.replace("graphql", "other")] {
            let answer = lab.exchange(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        }
        assert_eq!(to.text(), "");
        assert!(lab.guardd.asked.borrow().is_empty());
        drop(others);
        let answer = lab.exchange(QUERY.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    })
    .await;
}
