//! The promises, document by document.

use super::Promise;
use super::Shown::{Here, InMachines};

/// A connection waits where somebody is there.
const WAITS: &[&str] = &[
    "waiting::a_connection_waits_and_goes_on_after_a_yes",
    "waiting::nothing_waits_where_nobody_is_there_to_answer",
];

pub(super) const ALL: &[Promise] = &[
    Promise {
        name: "denied",
        file: "README.md",
        says: "What it denies fails at once.",
        shown: Here(&[
            "enforcement::a_denied_destination",
            "enforcement::an_allowlist",
        ]),
    },
    Promise {
        name: "waits",
        file: "README.md",
        says: "Destinations marked `confirm` pause until you answer if someone is watching",
        shown: Here(&[
            "waiting::a_connection_waits_and_goes_on_after_a_yes",
            "agents::notify::connections_wait_while_it_is_there",
        ]),
    },
    Promise {
        name: "asks",
        file: "README.md",
        says: "otherwise they fail at once and leave you a request.",
        shown: Here(&["waiting::nothing_waits_where_nobody_is_there_to_answer"]),
    },
    Promise {
        name: "hole",
        file: "README.md",
        says: "Your yes opens a hole for that one destination, and the hole ends by itself.",
        shown: Here(&[
            "holes::a_request_a_yes",
            "holes::a_hole_that_ends_by_itself_cuts",
            "holes::a_hole_is_for_one_session",
        ]),
    },
    Promise {
        name: "described",
        file: "packaging/deb/control",
        says: "What a policy allows passes. What it denies fails at once.",
        shown: Here(&[
            "enforcement::a_denied_destination",
            "enforcement::an_allowlist",
        ]),
    },
    Promise {
        name: "described-waits",
        file: "packaging/deb/control",
        says: "Destinations marked \"confirm\" pause until a person answers if someone is watching; otherwise they fail at once and leave a request.",
        shown: Here(&[
            "waiting::a_connection_waits_and_goes_on_after_a_yes",
            "waiting::nothing_waits_where_nobody_is_there_to_answer",
        ]),
    },
    Promise {
        name: "described-hole",
        file: "packaging/deb/control",
        says: "A yes opens a hole for that one destination, which ends by itself.",
        shown: Here(&[
            "holes::a_request_a_yes",
            "holes::a_hole_that_ends_by_itself_cuts",
            "holes::a_hole_is_for_one_session",
        ]),
    },
    Promise {
        name: "default-waits",
        file: "policies/default.toml",
        says: "hold = \"60s\" # so long a connection that asks waits for you, if someone is watching",
        shown: Here(WAITS),
    },
    Promise {
        name: "default-internet",
        file: "policies/default.toml",
        says: "the internet is open, your own networks are asked # about, and the places where a cloud machine's credentials lie are shut.",
        shown: Here(&["contract::policy::the_policies_that_ship_do_what_they_say"]),
    },
    Promise {
        name: "default-inbound",
        file: "policies/default.toml",
        says: "inbound = true # a server inside the session may answer whoever connects to it",
        shown: Here(&["inbound::a_server_inside_answers_whom_no_rule_denies"]),
    },
    Promise {
        name: "homelab-waits",
        file: "policies/homelab.toml",
        says: "hold = \"60s\" # so long a connection that asks waits for you, if someone is watching",
        shown: Here(WAITS),
    },
    Promise {
        name: "homelab-lasts",
        file: "policies/homelab.toml",
        says: "max_hole = \"2h\" # no hole lasts longer, where a rule does not say otherwise",
        shown: Here(&[
            "holes::no_hole_lasts_longer_than_its_rule_allows",
            "contract::answers::for_and_connections_bound_a_hole",
        ]),
    },
    Promise {
        name: "aws-prod-waits",
        file: "policies/aws-prod.toml",
        says: "hold = \"60s\" # so long a connection that asks waits for you, if someone is watching",
        shown: Here(WAITS),
    },
    Promise {
        name: "ci-lists",
        file: "policies/ci.toml",
        says: "For a job that nobody watches: nothing passes but what is listed.",
        shown: Here(&["enforcement::an_allowlist"]),
    },
    Promise {
        name: "ci-fails",
        file: "policies/ci.toml",
        says: "hold = \"0s\" # nobody is watching: what asks fails at once",
        shown: Here(&["waiting::nothing_waits_where_nobody_is_there_to_answer"]),
    },
    Promise {
        name: "whatever-it-starts",
        file: "README.md",
        says: "whatever it starts is guarded with it.",
        shown: Here(&[
            "escapes::leaving::",
            "ends::a_session_lasts_as_long_as_its_last_process",
        ]),
    },
    Promise {
        name: "install",
        file: "README.md",
        says: "sudo apt install ./guard_0.3.0_amd64.deb # starts guardd, now and at each boot",
        shown: InMachines(&["packages::install::an_installation_enforces", "reboot::"]),
    },
    Promise {
        name: "as-a-user",
        file: "README.md",
        says: "guard run --policy default -- claude",
        shown: InMachines(&["packages::install::an_ordinary_user_runs_a_command_under_it"]),
    },
    Promise {
        name: "minute",
        file: "README.md",
        says: "guard run --policy default -- claude # or: codex, gemini, aider, make, sh …",
        shown: InMachines(&["documents::agent::from_the_package_to_a_guarded_agent_in_a_minute"]),
    },
    Promise {
        name: "recorded",
        file: "README.md",
        says: "<!-- recorded by cargo xtask promises --write: readme -->",
        shown: Here(&["documents::recording::the_readme_shows_what_comes"]),
    },
    Promise {
        name: "demo",
        file: "README.md",
        says: "cargo xtask demo # shows it at work, for real, against networks of its own",
        shown: Here(&[super::DEMO]),
    },
    Promise {
        name: "without-a-service",
        file: "README.md",
        says: "`sudo guard run -- claude` is enough: it starts a guardd that lasts as long as the command, which runs as you and not as root.",
        shown: Here(&["launch::identity::under_sudo_it_runs_as_whoever_called_sudo"]),
    },
    Promise {
        name: "doctor",
        file: "README.md",
        says: "`guard doctor` says what this machine cannot enforce, and [how to fix it]",
        shown: Here(&["doctor::rows::", "doctor::broken::"]),
    },
    Promise {
        name: "policies",
        file: "README.md",
        says: "The policy `default` leaves the internet open, asks about your own networks, and denies the addresses where cloud machines hand out credentials",
        shown: Here(&["contract::policy::the_policies_that_ship_do_what_they_say"]),
    },
    Promise {
        name: "check",
        file: "docs/policy.md",
        says: "`guard check FILE` validates a policy. `guard explain DEST --policy FILE`",
        shown: Here(&[
            "contract::policy::an_error_has_its_place",
            "contract::explain::a_file_needs_no_daemon",
        ]),
    },
    Promise {
        name: "read-only",
        file: "README.md",
        says: "over HTTP, reads pass without a request, and each write waits until you have",
        shown: Here(&[
            "read_only::the_incident_does_not_happen_again",
            "read_only::a_request_waits",
            "https::the_incident_does_not_happen_again",
        ]),
    },
    Promise {
        name: "postgres",
        file: "README.md",
        says: "The same goes for [PostgreSQL](docs/postgres.md), with `profile = \"postgres\"`",
        shown: Here(&["clients::postgres::"]),
    },
    Promise {
        name: "open-read-only",
        file: "docs/read-only.md",
        says: "guard open db.example.com --read-only --for 10m",
        shown: Here(&["read_only::holes::"]),
    },
    Promise {
        name: "watch",
        file: "README.md",
        says: "`guard watch` shows what waits, and takes each answer by a key",
        shown: Here(&["watch::answers::", "watch::shown::"]),
    },
    Promise {
        name: "notify",
        file: "README.md",
        says: "`guard notify` shows each request on your desktop",
        shown: Here(&["agents::notify::a_request_is_shown_and_a_button_answers_it"]),
    },
    Promise {
        name: "why",
        file: "README.md",
        says: "An agent can see for itself why something failed, and ask with its reasons: `guard why` and `guard request DEST --reason TEXT` inside the session.",
        shown: Here(&[
            "agents::mcp::a_model_is_told_what_was_stopped_and_asks",
            "sockets::whoever_was_refused_is_told_why",
        ]),
    },
    Promise {
        name: "applied",
        file: "docs/use.md",
        says: "guard policy apply shop             # outside: shows what changes, and asks",
        shown: Here(&["contract::applied::"]),
    },
    Promise {
        name: "wide",
        file: "docs/use.md",
        says: "prefixes wider than /8, or /32 in IPv6, it asks again, or needs `--wide`.",
        shown: Here(&[
            "holes::a_hole_as_wide_as_the_internet_is_opened_by_whoever_says_so",
            "contract::answers::a_hole_as_wide_as_the_internet_is_asked_about_at_a_terminal",
        ]),
    },
    Promise {
        name: "init",
        file: "README.md",
        says: "`guard init claude-code` (or `codex`, `gemini`) has [it told by itself]",
        shown: Here(&["agents::init::", "agents::hook::"]),
    },
    Promise {
        name: "helpers-outside",
        file: "README.md",
        says: "The Docker socket, an ssh agent, tmux, or your systemd through D-Bus are out of a session's reach",
        shown: Here(&[
            "sockets::listeners_outside_are_out_of_reach_of_every_kind",
            "escapes::helpers::",
        ]),
    },
    Promise {
        name: "not-root",
        file: "README.md",
        says: "`guard run` refuses to start one.",
        shown: Here(&["launch::identity::root_is_told_to_name_a_user"]),
    },
    Promise {
        name: "tarball",
        file: "docs/admin.md",
        says: "sudo tar -C / --strip-components=1 --no-same-owner --keep-directory-symlink --no-overwrite-dir -xJf guard-0.3.0-x86_64-linux.tar.xz",
        shown: InMachines(&["packages::tarball::the_tarball_does_what_the_documents_say"]),
    },
    Promise {
        name: "rpm",
        file: "docs/admin.md",
        says: "sudo dnf install ./guard-0.3.0-1.x86_64.rpm",
        shown: InMachines(&["packages::rpm::"]),
    },
    Promise {
        name: "downgrade",
        file: "docs/admin.md",
        says: "sudo apt install --allow-downgrades ./guard_0.2.0_amd64.deb",
        shown: InMachines(&["packages::before::"]),
    },
    Promise {
        name: "job",
        file: "docs/ci.md",
        says: "guard report --name \"job-$ID\" --fail-on denied",
        shown: Here(&["report::a_job_fails_where_it_is_told_to"]),
    },
    Promise {
        name: "observe",
        file: "docs/ci.md",
        says: "It denies by default, and allows by name where a name server of this machine gave the address, and by address elsewhere",
        shown: Here(&[
            "flows::learned::a_build_is_observed",
            "flows::learned::rules_hold_while_a_session_is_observed",
            "flows::learned::an_administrator_may_forbid_it",
        ]),
    },
    Promise {
        name: "flows",
        file: "docs/use.md",
        says: "`guard flows` lists what sessions have reached, those that ended lately too",
        shown: Here(&[
            "flows::what_a_session_reaches_is_added_up",
            "flows::what_its_own_servers_get_is_not_listed",
            "flows::bounds::",
        ]),
    },
    Promise {
        name: "start",
        file: "docs/start.md",
        says: "Five commands, in three terminals: from the package to a request that you have answered.",
        shown: InMachines(&["documents::machine::getting_started_ends_with_a_request_answered"]),
    },
    Promise {
        name: "start-shown",
        file: "docs/start.md",
        says: "The first terminal shows who wants to go where, and why it was stopped:",
        shown: Here(&["documents::recording::getting_started_shows_the_request_that_comes"]),
    },
    Promise {
        name: "screen",
        file: "docs/use.md",
        says: "<!-- recorded by cargo xtask promises --write: watch -->",
        shown: Here(&["documents::recording::the_screen_in_the_documents_is_what_comes"]),
    },
    Promise {
        name: "setup",
        file: "README.md",
        says: "<!-- recorded by cargo xtask promises --write: setup -->",
        shown: Here(&["documents::recording::setting_up_a_project_shows_what_comes"]),
    },
    Promise {
        name: "tunnels",
        file: "docs/use.md",
        says: "A network behind a tunnel may be: it gets `confirm`. A tunnel for everything is only said.",
        shown: Here(&["contract::tunnels::"]),
    },
    Promise {
        name: "quiet",
        file: "docs/use.md",
        says: "It runs and connects to nothing",
        shown: Here(&["contract::discover::nothing_that_files_name_is_run_and_nothing_is_sent"]),
    },
    Promise {
        name: "incidents",
        file: "docs/use.md",
        says: "Tests replay 28 published incidents: 26 are named first and stopped by such rules; two were databases on the same machine.",
        shown: Here(&["clients::incidents::"]),
    },
    Promise {
        name: "project-agreed",
        file: "docs/policy.md",
        says: "A yes holds for path, file, policy and lines shown, by SHA-256",
        shown: Here(&[
            "contract::project::a_yes_is_for_what_was_shown_and_asked_anew_where_that_is_more",
            "contract::project::what_widens_starts_nothing_until_a_person_has_agreed_to_these_bytes",
        ]),
    },
    Promise {
        name: "project-narrows",
        file: "docs/policy.md",
        says: "An agent can write it, so it only narrows, whatever its environment says.",
        shown: Here(&["contract::project::no_variable_of_the_project_leaves_it_out"]),
    },
    Promise {
        name: "rebinding",
        file: "docs/policy.md",
        says: "nor does an exact name with a public address among its first (rebinding)",
        shown: Here(&["resolver::rebinding::"]),
    },
    Promise {
        name: "searched",
        file: "docs/policy.md",
        says: "unlisted names below this machine's search domains are refused without a question",
        shown: Here(&["resolver::ask::what_glibc_s_search_list_makes_is_asked_about"]),
    },
    Promise {
        name: "pretends",
        file: "docs/policy.md",
        says: "Chromium and Firefox pretend to use it: set `EncryptedClientHelloEnabled` to `false`",
        shown: Here(&["clients::browser::chromium_is_refused_until"]),
    },
    Promise {
        name: "no-tls",
        file: "docs/policy.md",
        says: "Refused are also: no TLS at first (ssh, STARTTLS, PostgreSQL) or no name",
        shown: Here(&["shown::gate::the_proxy_lets_nothing_begin_without_tls"]),
    },
    Promise {
        name: "supervised",
        file: "docs/use.md",
        says: "Start guard inside them, where its commands then reach no Unix socket, not even their own",
        shown: Here(&["sockets::guard_starts_inside_of_who_supervises_by_seccomp"]),
    },
    Promise {
        name: "policy-dir",
        file: "docs/admin.md",
        says: "A directory inside the state directory is refused, where guardd deletes files that are not its own",
        shown: Here(&["lifecycle::exclusive::policies_inside_of_the_state_directory_are_refused"]),
    },
    Promise {
        name: "package",
        file: "docs/admin.md",
        says: "sudo apt install ./guard_0.3.0_amd64.deb",
        shown: InMachines(&["documents::machine::the_package_is_installed_as_the_documents_say"]),
    },
    Promise {
        name: "service",
        file: "docs/admin.md",
        says: "systemctl status guardd # the line Status: says what is enforced, and what is wrong",
        shown: InMachines(&[
            "documents::machine::the_service_is_enabled_and_says_what_it_enforces",
        ]),
    },
    Promise {
        name: "slice",
        file: "docs/admin.md",
        says: "sudo systemd-run --slice=guard.slice --pipe --wait curl -sS -m 5 http://192.0.2.10/ # denied",
        shown: InMachines(&["documents::machine::a_unit_of_the_slice_is_denied"]),
    },
    Promise {
        name: "doctor-typed",
        file: "docs/reference/doctor.md",
        says: "guard doctor --all # each row, with what was seen",
        shown: InMachines(&["documents::machine::doctor_says_what_is_wrong"]),
    },
    Promise {
        name: "trail",
        file: "docs/admin.md",
        says: "sudo journalctl GUARD_KIND=hole-open",
        shown: InMachines(&[
            "documents::what_happened::an_answer_is_in_the_journal_and_in_the_trail",
        ]),
    },
    Promise {
        name: "metrics",
        file: "docs/admin.md",
        says: "sudo curl -s --unix-socket /run/guard/metrics.sock http://guard/metrics",
        shown: InMachines(&["documents::machine::metrics_are_where_the_settings_say"]),
    },
    Promise {
        name: "signed",
        file: "docs/asking.md",
        says: "A courier of question and answer can lose or delay a yes, not forge one.",
        shown: Here(&[
            "signed::a_connection_that_waits_goes_on",
            "signed::conditions",
            "signed::people",
        ]),
    },
    Promise {
        name: "signed-once",
        file: "docs/asking.md",
        says: "It records on disk that the question is used before anything opens.",
        shown: Here(&[
            "signed::killed",
            "signed::two_answers_at_once_open_one_hole",
        ]),
    },
    Promise {
        name: "signed-log",
        file: "docs/asking.md",
        says: "`sudo guard log --verify --signatures` checks offline who signed a yes to what",
        shown: Here(&["signed::the_audit_log_shows_who_signed_what_without_guardd"]),
    },
    Promise {
        name: "console",
        file: "docs/console.md",
        says: "A yes is signed by a passkey, with a finger, a face or a PIN; a no takes a press.",
        shown: Here(&[
            "console::a_question_appears_and_a_signed_answer_opens_its_hole_once",
            "console::a_no_takes_the_cookie_alone",
            "console::browser",
        ]),
    },
    Promise {
        name: "console-look",
        file: "docs/console.md",
        says: "it can look, say no and close holes. Each yes takes the passkey again.",
        shown: Here(&["console::a_question_appears", "console::gates"]),
    },
    Promise {
        name: "console-phone",
        file: "docs/console.md",
        says: "The proxy has to be in the group `guard-console` and pass `Host` unchanged, in nginx:",
        shown: Here(&["clients::console"]),
    },
    Promise {
        name: "console-lies",
        file: "docs/threat-model.md",
        says: "**a passkey does not show what it signs: a lying page has you sign another question**",
        shown: Here(&["console::liar"]),
    },
    Promise {
        name: "console-package",
        file: "docs/console.md",
        says: "It has its own package, and is off at first:",
        shown: InMachines(&[
            "packages::console::the_console_is_off_until_somebody_wants_it_and_then_serves",
        ]),
    },
    Promise {
        name: "console-push",
        file: "docs/console.md",
        says: "A burst is one message, and a session gets three in five minutes.",
        shown: Here(&["console::notify", "notify::told::"]),
    },
    Promise {
        name: "console-web-push",
        file: "docs/console.md",
        says: "Only that browser can read its messages.",
        shown: Here(&["console::push::a_device_is_told", "push::seal::"]),
    },
    Promise {
        name: "console-web-push-ends",
        file: "docs/console.md",
        says: "It is told no more once it is removed there, its push service has lost it, or its approver's key is removed.",
        shown: Here(&["console::push::a_browser_that_has_gone"]),
    },
    Promise {
        name: "console-web-push-inside",
        file: "docs/threat-model.md",
        says: "https to public addresses alone, looked up for each message",
        shown: Here(&[
            "console::push::a_subscription_leads_nowhere",
            "push::endpoint::",
        ]),
    },
    Promise {
        name: "demo-fleet",
        file: "docs/fleet.md",
        says: "`cargo xtask demo --fleet` shows it at work.",
        shown: Here(&[super::FLEET]),
    },
    Promise {
        name: "fleet-keepers",
        file: "docs/fleet.md",
        says: "Several servers have a `keep` each, and one list.",
        shown: Here(&["fleet::one_list_beside_each_of_three_servers_lets_a_machine_in_once"]),
    },
    Promise {
        name: "fleet-kubernetes",
        file: "docs/fleet.md",
        says: "`packaging/kubernetes` has three servers with `keep` for a cluster.",
        shown: Here(&["fleet::kubernetes::"]),
    },
    Promise {
        name: "fleet",
        file: "docs/fleet.md",
        says: "An answer is sent until its machine has it, and counts once.",
        shown: Here(&["fleet::"]),
    },
    Promise {
        name: "fleet-rights",
        file: "docs/fleet.md",
        says: "a machine speaks for itself alone, and a person for none.",
        shown: Here(&[
            "fleet::a_server_gives_each_its_own_rights_alone",
            "rights::tests::",
        ]),
    },
    Promise {
        name: "fleet-join",
        file: "docs/fleet.md",
        says: "lets machines in by a token that counts once, for an hour",
        shown: Here(&[
            "fleet::an_invited_machine_joins_once",
            "fleet::an_invitation_ends",
            "list::tests::",
        ]),
    },
    Promise {
        name: "fleet-console",
        file: "docs/fleet.md",
        says: "A question is shown by the bytes that are signed, so no server can swap it",
        shown: Here(&["fleet::central::", "pages::central::"]),
    },
    Promise {
        name: "fleet-console-keys",
        file: "docs/fleet.md",
        says: "You see the machines that list your key, and of each what you answer for.",
        shown: Here(&["fleet::central::a_cookie_looks", "central::mirror::"]),
    },
    Promise {
        name: "fleet-policies",
        file: "docs/fleet.md",
        says: "A directory of policies is signed once and put in force on each machine of its groups, all of it or nothing.",
        shown: Here(&["signed::policies::", "fleet::policies::"]),
    },
    Promise {
        name: "fleet-log",
        file: "docs/fleet.md",
        says: "`--verify` finds what is missing, was altered or came twice, a log that begins anew, and a listed machine that sent nothing.",
        shown: Here(&["fleet::log::", "tests::collected::"]),
    },
    Promise {
        name: "fleet-flood",
        file: "docs/fleet.md",
        says: "its thief can lie about that machine and who answers there, and asks 256 questions at most.",
        shown: Here(&[
            "fleet::central::a_machine_that_asks_without_end",
            "people::known::tests::",
            "central::desk::tests::",
        ]),
    },
    Promise {
        name: "fleet-log-bytes",
        file: "docs/fleet.md",
        says: "One machine may fill `max_file_store` for all.",
        shown: Here(&["fleet::log::a_server_keeps_so_many_bytes"]),
    },
    Promise {
        name: "fleet-remove",
        file: "docs/fleet.md",
        says: "`guard-fleet remove` takes it out of the list.",
        shown: Here(&[
            "fleet::a_machine_that_is_removed_is_known_to_no_server_until_it_joins_anew",
            "fleet::central::a_machines_page",
        ]),
    },
    Promise {
        name: "fleet-lasts",
        file: "docs/fleet.md",
        says: "for ever or as `lasts` says; `keep` offers it again in time.",
        shown: Here(&[
            "fleet::policies::what_holds_for_a_time_alone_is_offered_again_in_time",
            "machine::policies::tests::",
        ]),
    },
    Promise {
        name: "fleet-log-full",
        file: "docs/fleet.md",
        says: "machines say so and send it again; what is gone is told as missing.",
        shown: Here(&[
            "fleet::log::a_server_whose_disk_is_full",
            "fleet::log::what_servers_lose",
        ]),
    },
    Promise {
        name: "fleet-page-package",
        file: "docs/fleet.md",
        says: "on a host without guard: install both packages there.",
        shown: InMachines(&["packages::fleet::a_page_of_all_machines_takes_no_guard_on_its_host"]),
    },
    Promise {
        name: "console-noes",
        file: "docs/console.md",
        says: "By Web Push none for 15 after two no's.",
        shown: Here(&["console::push::after_two_noes", "notify::told::"]),
    },
    Promise {
        name: "fleet-package",
        file: "docs/fleet.md",
        says: "Its package is off at first:",
        shown: InMachines(&[
            "packages::fleet::the_fleet_is_off_until_somebody_wants_it_and_then_has_a_key",
        ]),
    },
    Promise {
        name: "varlink",
        file: "docs/reference/json.md",
        says: "It describes itself, and systemd's `varlinkctl` can call it:",
        shown: InMachines(&["documents::what_happened::varlinkctl_asks_guardd"]),
    },
    Promise {
        name: "agent-service",
        file: "docs/services.md",
        says: "`agent@.service` comes with the package. Its instance is the user:",
        shown: InMachines(&["documents::agent::an_agent_is_a_service"]),
    },
    Promise {
        name: "ci",
        file: "docs/ci.md",
        says: "guard run --policy ci --name \"job-$ID\" -- make test # exits as make does",
        shown: InMachines(&["documents::machine::a_job_is_guarded_and_says_what_was_stopped"]),
    },
    Promise {
        name: "kernels",
        file: "README.md",
        says: "It runs on Linux only, tested on [6.1, 6.12 and 6.18](docs/kernels.md).",
        shown: InMachines(&["enforcement::"]),
    },
    Promise {
        name: "distributions",
        file: "docs/admin.md",
        says: "They are tested on Debian 12 and 13, the .rpm with Debian's rpm.",
        shown: InMachines(&["packages::rpm::the_rpm_is_installed"]),
    },
    Promise {
        name: "postgres-drivers",
        file: "docs/postgres.md",
        says: "Tried with psql, pg_dump, psycopg, asyncpg, SQLAlchemy, Django, node-postgres, pgx and sqlx.",
        shown: Here(&[
            "clients::postgres::programs::",
            "clients::postgres::reads::",
        ]),
    },
    Promise {
        name: "engines",
        file: "docs/services.md",
        says: "On Linux 6.1 Podman 4.3 and Docker 20.10, on 6.12 Podman 5.4 (with Quadlet) and Docker 26.1;",
        shown: InMachines(&["containers::"]),
    },
    Promise {
        name: "agents-init",
        file: "docs/agents.md",
        says: "It shows a diff, and asks; `--yes` does not, `--print` only shows, `--remove` undoes it.",
        shown: Here(&["agents::init::"]),
    },
    Promise {
        name: "agents-hook",
        file: "docs/agents.md",
        says: "after each command; silent unless something was stopped while it ran.",
        shown: Here(&["agents::hook::"]),
    },
    Promise {
        name: "ratios",
        file: "docs/performance.md",
        says: "one that is worse by more than a third fails, if it is so twice.",
        shown: Here(&[super::RATIOS]),
    },
];
