//! Requests of the clients of servers that people have at home.

use guard_policy::Profile;

use super::{Wire, asked, not_read, profile, read};
use crate::http::{Judgement, judge};

const JSON: &str = "Content-Type: application/json\n\n{}";

#[test]
fn looking_through_photos_reads_and_a_job_is_asked_about_with_a_warning() {
    let rules = profile(Profile::Immich);
    for what in [
        "search/metadata",
        "search/smart",
        "download/info",
        "assets/bulk-upload-check",
    ] {
        read(&rules, &[&format!("POST /api/{what}\n{JSON}")]);
        not_read(
            &rules,
            &[
                &format!("POST /api/{what}/x\n{JSON}"),
                &format!("POST /api//{what}\n{JSON}"),
                &format!("POST /x/api/{what}\n{JSON}"),
                &format!("PUT /api/{what}\n{JSON}"),
                &format!("POST /api/{what}\nX-HTTP-Method-Override: DELETE\n{JSON}"),
            ],
        );
    }
    read(
        &rules,
        &[
            "GET /api/albums",
            "GET /api/assets/1/thumbnail?size=preview",
        ],
    );
    asked(
        &rules,
        &[
            (
                "PUT /api/jobs/thumbnailGeneration",
                "Immich: a job over the whole library",
            ),
            (
                "PUT /photos/API/jobs/thumbnailGeneration/",
                "Immich: a job over the whole library",
            ),
            (
                "POST /api/trash/empty",
                "Immich: deletes all that is in the trash for good",
            ),
        ],
    );
    let wire = Wire::of(
        "PUT /api/jobs/thumbnailGeneration\nContent-Type: application/json\n\n{\"command\":\"start\",\"force\":true}",
    );
    let Judgement::Write(write) = judge(&rules, &wire.request(), Some(&wire.body)) else {
        panic!("it is no write")
    };
    let first = write.warnings.first().map(String::as_str);
    assert_eq!(
        first,
        Some("much at once, or for good: a job over the whole library")
    );
    // One photo is changed, and nothing of many is said.
    let wire =
        Wire::of("PUT /api/assets/1\nContent-Type: application/json\n\n{\"isFavorite\":true}");
    let Judgement::Write(write) = judge(&rules, &wire.request(), Some(&wire.body)) else {
        panic!("it is no write")
    };
    assert_eq!(write.warnings, Vec::<String>::new());
}

#[test]
fn a_home_is_looked_at_and_each_service_call_is_asked_about() {
    let rules = profile(Profile::HomeAssistant);
    read(
        &rules,
        &[
            "GET /api/states",
            &format!("POST /api/template\n{JSON}"),
            &format!("POST /api/config/core/check_config\n{JSON}"),
        ],
    );
    not_read(
        &rules,
        &[&format!("POST /api/services/light/turn_on\n{JSON}")],
    );
    asked(
        &rules,
        &[
            (
                "GET /api/webhook/abc",
                "Home Assistant: runs what is set up for this webhook",
            ),
            (
                "HEAD /x/api/webhook/abc",
                "Home Assistant: runs what is set up for this webhook",
            ),
            (
                "POST /api/services/homeassistant/stop",
                "Home Assistant: stops Home Assistant",
            ),
        ],
    );
}

#[test]
fn rendering_markdown_reads_and_deleting_a_repository_is_asked_about() {
    let rules = profile(Profile::Gitea);
    read(
        &rules,
        &[
            "GET /api/v1/repos/search",
            &format!("POST /api/v1/markdown\n{JSON}"),
        ],
    );
    asked(
        &rules,
        &[
            (
                "DELETE /api/v1/repos/o/r",
                "Gitea: deletes a repository with all that is in it",
            ),
            (
                "POST /git/api/v1/admin/cron/delete_repo_archives",
                "Gitea: a task over all repositories",
            ),
        ],
    );
    not_read(&rules, &[&format!("POST /api/v1/repos/o/r/issues\n{JSON}")]);
}
