//! Requests of the clients of servers that people have at home, and of platforms.

use guard_policy::Profile;

use super::{Wire, asked, not_read, profile, read, rules};
use crate::http::{Judgement, RequestHead, judge};

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

#[test]
fn documents_are_looked_through_and_a_change_of_many_is_asked_about() {
    let rules = profile(Profile::Paperless);
    read(
        &rules,
        &[
            "GET /api/documents/?query=tax",
            &format!("POST /api/documents/bulk_download/\n{JSON}"),
        ],
    );
    not_read(
        &rules,
        &[
            // What its server takes for another, or for a redirection.
            &format!("POST /api/documents/bulk_download\n{JSON}"),
            &format!("POST /api/documents/bulk_download/x/\n{JSON}"),
            &format!("POST /api/documents/post_document/\n{JSON}"),
        ],
    );
    let delete = "Paperless-ngx: puts many documents into the trash";
    asked(
        &rules,
        &[
            ("POST /api/documents/delete/", delete),
            ("POST /papers/api/documents/delete", delete),
        ],
    );
}

#[test]
fn a_cloud_is_looked_at_by_webdav_too_and_what_acts_by_get_is_asked_about() {
    let rules = rules("profile = [\"nextcloud\", \"webdav\"]");
    read(
        &rules,
        &[
            "GET /ocs/v1.php/cloud/users?format=json",
            "PROPFIND /remote.php/dav/files/me/",
            &format!("POST /ocs/v1.php/apps/notifications/api/v2/notifications/exists\n{JSON}"),
            &format!("POST /ocs/v2.php/apps/notifications/api/v2/notifications/exists\n{JSON}"),
        ],
    );
    not_read(&rules, &["PUT /remote.php/dav/files/me/a\n\nx"]);
    asked(
        &rules,
        &[
            (
                "GET /ocs/v1.php/core/getapppassword",
                "Nextcloud: makes a password for an app",
            ),
            (
                "DELETE /cloud/ocs/v2.php/cloud/users/ann",
                "Nextcloud: deletes a user with all of their files",
            ),
            (
                "DELETE /remote.php/dav/trashbin/ann/trash",
                "Nextcloud: deletes all that is in the trash for good",
            ),
        ],
    );
}

#[test]
fn what_is_handed_through_a_dashboard_is_asked_about() {
    let rules = profile(Profile::Grafana);
    let through = "Grafana: sends any request through to a data source";
    asked(
        &rules,
        &[
            ("GET /api/datasources/proxy/uid/a/api/v1/query", through),
            ("GET /grafana/api/datasources/proxy/3/query?q=DROP", through),
            (
                "GET /apis/influxdb.datasource.grafana.app/v0alpha1/namespaces/default/datasources/a/resource/query?q=DROP",
                through,
            ),
            (
                "HEAD /g//APIS/a.datasource.grafana.app/v1/namespaces/default/connections/a/proxy",
                through,
            ),
            (
                "GET /api/snapshots-delete/abc",
                "Grafana: deletes a snapshot",
            ),
        ],
    );
    read(
        &rules,
        &[
            "GET /api/datasources/uid/a",
            "GET /api/search",
            "GET /apis/a.datasource.grafana.app/v1/namespaces/default/datasources/a/health",
        ],
    );
    not_read(&rules, &[&format!("POST /api/ds/query\n{JSON}")]);
}

#[test]
fn machines_are_looked_at_and_a_way_into_one_is_asked_about() {
    let rules = profile(Profile::Proxmox);
    read(
        &rules,
        &[
            "GET /api2/json/nodes/a/qemu/100/status/current",
            "GET /api2/extjs/cluster/resources",
            &format!("POST /api2/json/nodes/a/qemu/100/agent/ping\n{JSON}"),
        ],
    );
    asked(
        &rules,
        &[
            (
                "GET /api2/json/nodes/a/vncwebsocket?port=5900",
                "Proxmox VE: opens a shell of a node",
            ),
            (
                "DELETE /api2/json/nodes/a/qemu/100",
                "Proxmox VE: destroys a machine with its disks",
            ),
            (
                "POST /api2/extjs/nodes/a/stopall",
                "Proxmox VE: stops all machines and containers of a node",
            ),
        ],
    );
}

#[test]
fn containers_are_looked_at_and_what_is_handed_through_opens_no_way_in() {
    let rules = profile(Profile::Portainer);
    let at = "/api/endpoints/2";
    read(
        &rules,
        &[
            "GET /api/stacks",
            &format!("GET {at}/docker/v1.41/containers/json"),
            &format!("GET {at}/kubernetes/api/v1/namespaces/a/pods"),
            &format!("POST /api/templates/3/file\n{JSON}"),
        ],
    );
    asked(
        &rules,
        &[
            (
                "GET /api/websocket/exec?id=1",
                "Portainer: runs a command in a container",
            ),
            (
                &format!("GET {at}/docker/v1.41/containers/a/attach/ws"),
                "Portainer: Docker attach: sends input to a container",
            ),
            (
                &format!("GET {at}/kubernetes/api/v1/namespaces/a/services/b/proxy/x/y"),
                "Portainer: Kubernetes proxy: sends any request through to a pod, a service or a node (services/b/proxy in a)",
            ),
            (
                "DELETE /api/stacks/3",
                "Portainer: removes a stack with all its containers",
            ),
        ],
    );
    not_read(
        &rules,
        &[&format!("POST {at}/docker/containers/prune\n{JSON}")],
    );
}

/// Which of them answers is by the environment, and not by the prefix.
#[test]
fn what_portainer_hands_through_is_judged_behind_each_prefix() {
    for prefix in [
        "docker",
        "kubernetes",
        "azure",
        "agent/docker",
        "agent/kubernetes",
        "agent/kubernetes/kubernetes",
    ] {
        for path in [
            "plugins/privileges?remote=a.test/b",
            "v1.43/images/search?term=a.test/b",
            "v1.43/containers/a/attach/ws",
            "v5.0.0/libpod/containers/a/healthcheck",
            "api/v1/namespaces/a/pods/b/exec",
            "api/v1/namespaces/a/services/b/proxy/admin/reset",
            "api/v1/proxy/nodes/a/x",
            "apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc",
        ] {
            acts(
                Profile::Portainer,
                &format!("/api/endpoints/2/{prefix}/{path}"),
            );
        }
    }
}

/// It makes a repository where pushing may.
#[test]
fn a_push_to_gitea_does_not_begin_unasked() {
    let gitea = profile(Profile::Gitea);
    for method in ["GET", "HEAD"] {
        let wire = format!("{method} /me/new.git/info/refs?service=git-receive-pack");
        asked(&gitea, &[(&wire, "Gitea: begins a git push")]);
    }
}

#[test]
fn a_get_that_acts_is_asked_about_in_each_spelling_and_with_whatever_follows() {
    const FOLLOWS: [(Profile, &str); 13] = [
        (Profile::Aws, "/confirmdestination"),
        (Profile::Grafana, "/api/datasources/uid/a/resources"),
        (Profile::Grafana, "/api/datasources/7/resources"),
        (Profile::Grafana, "/api/plugin-proxy/a"),
        (Profile::Grafana, "/api/plugins/a/resources"),
        (Profile::HomeAssistant, "/api/hassio_ingress/token"),
        (Profile::Nextcloud, "/cron.php"),
        (Profile::Nextcloud, "/core/ajax/update.php"),
        (Profile::Grafana, "/api/datasources/proxy/uid/a"),
        (Profile::Grafana, "/api/datasources/proxy/7"),
        (Profile::Portainer, "/api/registries/proxies/gitlab"),
        (Profile::Vercel, "/v1/integrations/deploy"),
        (
            Profile::Portainer,
            "/api/endpoints/2/kubernetes/api/v1/nodes/a/proxy",
        ),
    ];
    const WHOLE: [(Profile, &str); 33] = [
        (
            Profile::Gitea,
            "/api/v1/repos/o/r/actions/runners/registration-token",
        ),
        (
            Profile::Gitea,
            "/api/v1/orgs/o/actions/runners/registration-token",
        ),
        (
            Profile::Gitea,
            "/api/v1/user/actions/runners/registration-token",
        ),
        (Profile::Gitea, "/api/v1/admin/runners/registration-token"),
        (
            Profile::Gitea,
            "/api/v1/admin/actions/runners/registration-token",
        ),
        (
            Profile::Nextcloud,
            "/index.php/apps/updatenotification/credentials",
        ),
        (Profile::Nextcloud, "/apps/dav/invitation/accept/a"),
        (
            Profile::Nextcloud,
            "/index.php/apps/dav/invitation/decline/a",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/distribution/a.test/b/json",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v5.0.0/libpod/manifests/a.test/b/json",
        ),
        (Profile::Aws, "/federation/credentials?role_name=a"),
        (Profile::Aws, "/v20180820/accessgrantsinstance/dataaccess"),
        (
            Profile::Cloudflare,
            "/client/v4/accounts/a/alerting/v3/destinations/pagerduty/connect/b",
        ),
        (Profile::Digitalocean, "/v2/apps/a/components/b/exec"),
        (
            Profile::Digitalocean,
            "/v2/registry/docker-credentials?read_write=true",
        ),
        (Profile::Netlify, "/api/v1/sites/a/ai-gateway/token"),
        (Profile::Supabase, "/v1/oauth/authorize?client_id=a"),
        (Profile::Grafana, "/logout"),
        (Profile::Nextcloud, "/logout"),
        (Profile::Nextcloud, "/index.php/logout"),
        (Profile::Paperless, "/api/documents/3/ai_suggestions/"),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/libpod/containers/a/healthcheck",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v5.0.0/libpod/containers/a/healthcheck",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v1.55/images/search?term=a.test/b",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v1.55/plugins/privileges?remote=a.test/b",
        ),
        (Profile::Portainer, "/api/templates/helm?repo=http://a.test"),
        (
            Profile::Portainer,
            "/api/templates/helm/values?repo=http://a.test",
        ),
        (Profile::Proxmox, "/api2/json/cluster/acme/tos"),
        (
            Profile::Proxmox,
            "/api2/extjs/cluster/acme/meta?directory=http://a.test",
        ),
        (
            Profile::Proxmox,
            "/api2/json/nodes/a/storage/b/file-restore/list",
        ),
        (
            Profile::Proxmox,
            "/api2/json/nodes/a/storage/b/file-restore/download?filepath=x",
        ),
        (Profile::Proxmox, "/api2/json/nodes/a/scan/glusterfs"),
        (Profile::Proxmox, "/api2/json/nodes/a/query-url-metadata"),
    ];
    for (server, path) in FOLLOWS {
        for rest in ["/", "/x", "/x/y?z=1", "%2fx", "%252fx", "/%2e%2e/x", ";v/x"] {
            acts(server, &format!("{path}{rest}"));
        }
    }
    for (server, path) in FOLLOWS.into_iter().chain(WHOLE) {
        acts(server, path);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        for other in [
            format!("/below{path}"),
            format!("/{path}/"),
            format!("{path};v"),
            path.to_ascii_uppercase(),
            format!("/{}", path[1..].replace('/', "%2f")),
            format!("/{}", path[1..].replace('/', "%252F")),
            format!("/x/..{path}"),
            path.replacen('a', "%61", 1).replacen('o', "%6F", 1),
        ] {
            acts(server, &format!("{other}?{query}"));
        }
    }
}

/// Asked about for what the list says that it does, and not for its spelling alone.
fn acts(server: Profile, target: &str) {
    const NAMES: [&str; 13] = [
        "AWS: ",
        "Cloudflare: ",
        "DigitalOcean: ",
        "Gitea: ",
        "Grafana: ",
        "Home Assistant: ",
        "Netlify: ",
        "Nextcloud: ",
        "Paperless-ngx: ",
        "Portainer: ",
        "Proxmox VE: ",
        "Supabase: ",
        "Vercel: ",
    ];
    for method in ["GET", "HEAD"] {
        let wire = Wire::of(&format!("{method} {target}"));
        let judgement = wire.judge(&profile(server));
        let Judgement::Write(write) = &judgement else {
            panic!("{server}: {method} {target}: {judgement:?}")
        };
        let is_listed = NAMES.iter().any(|name| write.kind.starts_with(name));
        assert!(is_listed, "{server}: {method} {target}: {write:?}");
    }
}

#[test]
fn what_lies_beside_a_get_that_acts_reads() {
    for (server, path) in [
        (Profile::Aws, "/bucket/federation/a"),
        (Profile::Cloudflare, "/client/v4/accounts/a/tokens/verify"),
        (Profile::Digitalocean, "/v2/kubernetes/clusters/a"),
        (Profile::Supabase, "/v1/projects/a/secrets"),
        (Profile::Gitea, "/api/v1/repos/o/r/actions/runners"),
        (Profile::Gitea, "/o/r/info/refs?service=git-upload-pack"),
        (Profile::Grafana, "/api/datasources/uid/a/health"),
        (Profile::Grafana, "/api/plugins/a/settings"),
        (Profile::HomeAssistant, "/api/hassio/info"),
        (Profile::Nextcloud, "/status.php"),
        (Profile::Paperless, "/api/documents/3/suggestions/"),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v5.0.0/libpod/containers/a/json",
        ),
        (
            Profile::Portainer,
            "/api/endpoints/2/docker/v1.55/plugins/privileges/json",
        ),
        (Profile::Portainer, "/api/endpoints/2/docker/exec/a/json"),
        (
            Profile::Portainer,
            "/api/endpoints/2/kubernetes/api/v1/namespaces/exec/pods/a/log",
        ),
        (Profile::Portainer, "/api/registries/3"),
        (Profile::Portainer, "/api/templates"),
        (Profile::Proxmox, "/api2/json/cluster/acme/directories"),
        (Profile::Proxmox, "/api2/json/nodes/a/storage/b/content"),
    ] {
        read(&profile(server), &[&format!("GET {path}")]);
    }
}

#[test]
fn in_clear_text_no_post_to_a_platform_is_taken_for_a_read() {
    for (platform, path, host) in [
        (
            Profile::Cloudflare,
            "/client/v4/accounts/a/dlp/patterns/validate",
            "api.cloudflare.com",
        ),
        (
            Profile::Digitalocean,
            "/v2/apps/propose",
            "api.digitalocean.com",
        ),
        (Profile::Github, "/markdown", "api.github.com"),
        (
            Profile::Google,
            "/v1/projects/p:getIamPolicy",
            "pubsub.googleapis.com",
        ),
        (Profile::Google, "/token", "oauth2.googleapis.com"),
        (
            Profile::Google,
            "/v1beta/models/m:generateContent",
            "generativelanguage.googleapis.com",
        ),
        (Profile::Heroku, "/filters/apps", "api.heroku.com"),
        (
            Profile::Stripe,
            "/v1/invoices/create_preview",
            "api.stripe.com",
        ),
        (Profile::Vercel, "/v8/artifacts", "api.vercel.com"),
        // A server of one's own is where the rule says.
        (Profile::Immich, "/api/search/metadata", "photos.test"),
    ] {
        let wire = Wire::of(&format!("POST {path}\nHost: {host}\n{JSON}"));
        for is_secure in [true, false] {
            let request = RequestHead {
                is_secure,
                ..wire.request()
            };
            let judged = judge(&profile(platform), &request, Some(&wire.body));
            let reads = is_secure || platform == Profile::Immich;
            let is_read = matches!(judged, Judgement::Read { .. });
            assert_eq!(is_read, reads, "{platform}: {path}: {judged:?}");
        }
    }
}

#[test]
fn a_form_that_names_a_method_is_no_read() {
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
    const PART: &str =
        "--x\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n--x--";
    let stripe = profile(Profile::Stripe);
    let at = "POST /v1/invoices/create_preview\n";
    read(
        &stripe,
        &[
            &format!("{at}{FORM}\n\ncustomer=a&method=DELETE"),
            "POST /v1/invoices/create_preview",
            &format!(
                "{at}Content-Type: multipart/form-data; boundary=x\n\n{}",
                PART.replace("_method", "a")
            ),
        ],
    );
    for body in [
        "_method=DELETE",
        "a=b&_METHOD=put",
        "%5fmethod=DELETE",
        ".method=DELETE",
        "a=b;_method=DELETE",
        "X-HTTP-Method-Override=DELETE",
    ] {
        not_read(&stripe, &[&format!("{at}{FORM}\n\n{body}")]);
        // Ruby's Rack reads what has no type as a form.
        not_read(
            &stripe,
            &[
                &format!("{at}\n{body}"),
                &format!("{at}Content-Type: \n\n{body}"),
            ],
        );
        let prometheus = profile(Profile::Prometheus);
        not_read(
            &prometheus,
            &[&format!("POST /api/v1/query\n{FORM}\n\nquery=up&{body}")],
        );
    }
    let long = format!("{at}{FORM}\n\n{}", "a".repeat((1 << 20) + 1));
    not_read(
        &stripe,
        &[
            &long,
            &format!("{at}{FORM}\nContent-Encoding: gzip\n\na=b"),
            &format!("{at}Content-Type: multipart/form-data; boundary=x\n\n{PART}"),
            &format!("{at}Content-Type: multipart/mixed; boundary=x\n\n{PART}"),
            &format!(
                "{at}Content-Type: application/json, application/x-www-form-urlencoded\n\n_method=PUT"
            ),
        ],
    );
}

/// The lists, and the operations of the servers' own descriptions.
const DESCRIBED: [(Profile, &str, &str); 7] = [
    (
        Profile::Gitea,
        include_str!("../services/gitea.txt"),
        include_str!("../services/gitea.operations"),
    ),
    (
        Profile::Grafana,
        include_str!("../services/grafana.txt"),
        include_str!("../services/grafana.operations"),
    ),
    (
        Profile::Immich,
        include_str!("../services/immich.txt"),
        include_str!("../services/immich.operations"),
    ),
    (
        Profile::Nextcloud,
        include_str!("../services/nextcloud.txt"),
        include_str!("../services/nextcloud.operations"),
    ),
    (
        Profile::Paperless,
        include_str!("../services/paperless.txt"),
        include_str!("../services/paperless.operations"),
    ),
    (
        Profile::Portainer,
        include_str!("../services/portainer.txt"),
        include_str!("../services/portainer.operations"),
    ),
    (
        Profile::Proxmox,
        include_str!("../services/proxmox.txt"),
        include_str!("../services/proxmox.operations"),
    ),
];

/// What a list says of an operation: `reads`, `acts` or `bulk`.
fn effect<'l>(list: &'l str, method: &str, path: &str) -> Option<&'l str> {
    let is_it = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (verb, pattern) = (words.next(), words.next().unwrap_or_default());
        let (pattern, path) = (pattern.split('/'), path.split('/'));
        verb == Some(method)
            && pattern.clone().count() == path.clone().count()
            && pattern.zip(path).all(|(pattern, segment)| match pattern {
                "*" | "**" => segment.starts_with('{'),
                "v*.php" => segment == "v2.php",
                pattern => pattern == segment,
            })
    };
    list.lines().find(is_it)?.split(' ').next()
}

#[test]
fn each_operation_of_a_servers_description_is_judged_as_its_list_says() {
    let mut wrong = Vec::new();
    for (server, list, operations) in DESCRIBED {
        let rules = profile(server);
        let operations = operations.lines().filter(|line| !line.starts_with('#'));
        for (method, path) in operations.filter_map(|line| line.split_once(' ')) {
            let filled = path.split('/').map(|segment| {
                if segment.starts_with('{') {
                    "x1"
                } else {
                    segment
                }
            });
            let filled = filled.collect::<Vec<_>>().join("/");
            let wire = match method {
                "GET" => Wire::of(&format!("GET {filled}")),
                _ => Wire::of(&format!("{method} {filled}\n{JSON}")),
            };
            let effect = effect(list, method, path);
            let reads = match effect {
                None => method == "GET",
                Some(effect) => effect == "reads",
            };
            let judgement = wire.judge(&rules);
            let is_read = matches!(judgement, Judgement::Read { .. });
            if is_read != reads {
                wrong.push(format!("{server}: {method} {path}: {judgement:?}"));
            }
            let warned = match &judgement {
                Judgement::Write(write) => write
                    .warnings
                    .iter()
                    .any(|one| one.starts_with("much at once")),
                _ => false,
            };
            let is_bulk = effect == Some("bulk");
            assert_eq!(warned, is_bulk, "{server}: {method} {path}: {judgement:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_no_list_has_is_judged_as_without_a_profile() {
    for rules in [
        rules(""),
        profile(Profile::Aws),
        profile(Profile::Vercel),
        profile(Profile::Kubernetes),
        profile(Profile::Immich),
    ] {
        not_read(
            &rules,
            &[
                "GET /prod/users/7/delete",
                "GET /admin/reboot",
                "GET /x?action=deleteAll",
                "GET /x?sql=DROP+TABLE+users",
                "GET /cron.php",
                "GET /api/users/7/delete",
            ],
        );
    }
    // Where the list has it, the word is a name.
    read(
        &profile(Profile::Proxmox),
        &["GET /api2/json/nodes/a/qemu/7/migrate"],
    );
    read(
        &profile(Profile::Kubernetes),
        &["GET /apis/batch/v1/namespaces/a/cronjobs/purge"],
    );
}
