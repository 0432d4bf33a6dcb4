//! What a person is warned about.

use super::{
    super::{Judgement, elsewhere, judge, warnings},
    Wire, rules,
};

fn of(wire: &str) -> Vec<String> {
    let wire = Wire::of(wire);
    match judge(&rules(""), &wire.request(), Some(&wire.body)) {
        Judgement::Write(write) => write.warnings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_job_that_touched_everything_is_warned_about() {
    let wire = "PUT /api/jobs/thumbnailGeneration\nContent-Type: application/json\n\n{\"command\":\"start\",\"force\":true}";
    assert_eq!(
        of(wire),
        [
            "`jobs` in the path: a job, which may touch many things",
            "force=true: overrides what would stop it",
        ]
    );
    let wire = Wire::of(wire);
    assert_eq!(warnings(&wire.request(), &wire.body[..30]).len(), 2);
    assert_eq!(warnings(&wire.request(), b"").len(), 1);
}

#[test]
fn a_secret_is_no_part_of_what_is_said() {
    assert_eq!(
        of("POST /x?reset_token=abc"),
        ["reset_token=***: what was there is lost"]
    );
    let wire = Wire::of("GET /x?reset_token=abc");
    let judged = format!("{:?}", judge(&rules(""), &wire.request(), None));
    assert!(
        judged.contains("reset_token=***") && !judged.contains("abc"),
        "{judged}"
    );
}

#[test]
fn deleting_a_collection_is_warned_about() {
    for path in ["/api/users", "/api/users/", "/v1/access-keys"] {
        assert!(
            of(&format!("DELETE {path}"))[0].starts_with("DELETE of a collection"),
            "{path}"
        );
    }
    for path in [
        "/api/users/7",
        "/api/users/5f0c",
        "/api/address",
        "/status",
        "/api/user",
    ] {
        assert_eq!(
            of(&format!("DELETE {path}")),
            ["DELETE: may be gone for good"]
        );
    }
    assert!(of("POST /users?_method=DELETE")[0].starts_with("DELETE of a collection"));
}

#[test]
fn words_count_where_they_mean_something() {
    for (wire, warning) in [
        (
            "POST /volumes/prune",
            "`prune` in the path: removes all that is not in use",
        ),
        (
            "DELETE /x/1?force=1",
            "force=1: overrides what would stop it",
        ),
        (
            "POST /logs/_delete_by_query",
            "`_delete_by_query` in the path: deletes all that match",
        ),
        ("DELETE /logs-*", "`logs-*` in the path: stands for many"),
        ("DELETE /x/1?recursive", "recursive=: and all that is in it"),
        (
            "POST /x\n\n{\"deleteAll\":true}",
            "deleteAll=true: deletes all of them",
        ),
        (
            "POST /x\n\n{\"a\":{\"ids\":[\"*\"]}}",
            "ids=*: stands for many",
        ),
        (
            "POST /x\n\n{\"sql\":\"drop table users\"}",
            "sql=drop table users: cannot be undone",
        ),
        (
            "POST /x\n\n{\"text\":\"Drop  Table users\"}",
            "text=Drop  Table users: drops it",
        ),
        (
            "POST /x\nContent-Type: application/x-www-form-urlencoded\n\naction=purge",
            "action=purge: cannot be undone",
        ),
        (
            "POST /x\nContent-Type: multipart/form-data; boundary=Xy\n\n--Xy\r\nContent-Disposition: form-data; \
             name=\"photo\"; filename=\"force\"\r\n\r\npng\r\n--Xy\r\ncontent-disposition: form-data; name=action\r\n\r\nwipe\r\n--Xy--\r\n",
            "action=wipe: cannot be undone",
        ),
        (
            "POST /x\nContent-Type: application/x-www-form-urlencoded\n\n{\"force\":true}",
            "force=true: overrides what would stop it",
        ),
    ] {
        let found = of(wire);
        assert!(found.contains(&warning.to_owned()), "{wire}: {found:?}");
    }
    for wire in [
        "PUT /x/1?force=false",
        "POST /x\n\n{\"force\":false,\"all\":0,\"purge\":null}",
        "POST /notes\n\n{\"text\":\"force them all to drop it\"}",
        "POST /install",
    ] {
        assert_eq!(of(wire), Vec::<String>::new(), "{wire}");
    }
}

#[test]
fn warnings_are_harmless_to_show() {
    let words = "force all purge drop wipe erase destroy truncate prune reset hard bulk";
    let query: Vec<_> = words
        .split(' ')
        .map(|word| format!("{word}=1%1b"))
        .collect();
    let found = of(&format!("POST /x?{}", query.join("&")));
    assert_eq!(found.len(), words.split(' ').count());
    assert!(
        found.iter().all(|warning| !warning.contains('\u{1b}')),
        "{found:?}"
    );
}

#[test]
fn headers_that_name_another_host_are_told() {
    let of = |wire: &str| elsewhere(&Wire::of(wire).request());
    for (header, found) in [
        ("X-Forwarded-Host: other", "x-forwarded-host says other"),
        ("X_Forwarded_Host: other", "x_forwarded_host says other"),
        ("X-Host: other:8080", "x-host says other:8080"),
        (
            "X-Forwarded-Host: photos, other",
            "x-forwarded-host says photos, other",
        ),
        (
            "Forwarded: for=192.0.2.1;Host=other",
            "forwarded says for=192.0.2.1;Host=other",
        ),
        ("X-Original-URL: /admin", "x-original-url says /admin"),
    ] {
        let wire = format!("POST /x\nHost: photos:443\n{header}");
        assert_eq!(of(&wire), [format!("the header {found}")]);
    }
    for header in [
        "X-Forwarded-Host: Photos",
        "X-Host: photos:443",
        "Forwarded: for=192.0.2.1;host=photos",
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
    ] {
        let wire = format!("POST /x\nHost: photos:443\n{header}");
        assert_eq!(of(&wire), [""; 0], "{header}");
    }
}
