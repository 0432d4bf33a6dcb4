//! What `--help` and the man pages end with.

pub(super) const GUARD: &str = "\
Examples:
  guard run -- claude                     run an agent under the default policy
  guard pending                           what it was stopped from doing
  guard approve r1 --for 15m              let it, for a quarter of an hour
  guard status                            what is enforced right now

Exit status: 0 done or yes; 1 the answer is no; 2 it could not be done.
`guard run` exits as the command does; 125 if the guard could not start it.";

pub(super) const RUN: &str = "\
Examples:
  guard run -- claude
  guard run --policy homelab -- codex --full-auto
  guard run --policy ./agent.toml --name nightly -- make deploy
  sudo guard run -- claude                as you, with a guardd of its own if
                                          none runs
  guard run --user root -- make install   as root of a user namespace, where
                                          the settings allow it
  guard run --observe -- make test        what no rule names passes, to be
                                          learned from

At the end, if something was stopped or asked, a few lines on standard error
say what, and who answered; not with --quiet.

Exit status: the command's, 128+n if signal n ended it; 125 the guard could not
start it, and then it never ran; 126 it is not executable; 127 it was not
found.";

pub(super) const ASSIGN: &str = "\
Examples:
  guard assign --policy homelab run-u3.service
  guard assign --policy ci --owner alice docker-4f1d0c.scope

As root. In a unit, which then starts under that policy or not at all:
  [Service]
  Slice=guard.slice
  ExecStartPre=+guard assign --policy homelab

For containers and others that cannot say it: [[assign]] in
/etc/guard/guardd.toml.";

pub(super) const PENDING: &str = "\
Examples:
  guard pending
  guard pending --follow
  guard pending --json | jq -r '.[].id'";

pub(super) const APPROVE: &str = "\
Examples:
  guard approve r1
  guard approve r1 --for 1h
  guard approve r1 --for 5m --connections 1
  guard approve r1 --bytes 64KiB          no more than that is sent
  guard approve r1 --tried 5              of a burst: the first 5 addresses,
                                          and no others
  guard approve r1 --prefix --for 5m      of a burst: all of its prefix
  guard approve r1 --address              of a name: the address that was
                                          tried, and no others
  guard approve r2 --path '/api/jobs/*'   HTTP: more requests like it, and not
                                          that one only
  guard approve r2 --writes --for 5m      HTTP: all writes to its host";

pub(super) const DENY: &str = "\
Examples:
  guard deny r1
  guard deny r1 r2 --for 8h
  guard deny s24                          all that waits of a session";

pub(super) const QUESTION: &str = "\
Examples:
  guard question r1
  guard question r1 --bytes > question
  guard question r1 --json | jq -r .hash

The bytes are the same until the request changes. From another machine:
  ssh dev guard question r1 --bytes | guard sign | ssh dev guard answer --signed -";

pub(super) const SIGN: &str = "\
Examples:
  guard sign < question > answer
  guard sign --key ~/.ssh/id_ed25519_sk.pub < question > answer

It needs a terminal, which it asks on, and no guardd: what it shows is what you
sign. ssh-keygen or ssh-agent signs. The answer counts once, on the machine
that asked, for that request as it was shown.

Exit status: 0 it was signed; 1 nothing was; 2 it could not be done.";

pub(super) const ANSWER: &str = "\
Examples:
  guard answer --signed answer
  guard answer --signed - < answer
  guard answer --signed - --json < answer";

pub(super) const APPROVER: &str = "\
Examples:
  guard approver list
  sudo guard approver add alice --ssh-key alice.pub --answers-for dev
  sudo guard approver add alice --passkey ID:KEY --answers-for dev
  sudo guard approver invite bob --answers-for dev --policy 'prod-*' --max-for 15m
  guard approver present 3q2-7w --ssh-key id_ed25519_sk.pub
                                          as bob, who was told that
  sudo guard approver accept bob SHA256:kvcOmWPrOJpNpE3Mvl6CkEJPiwoxrpHvgP4Sj5vzjEg
  sudo guard approver remove alice

Only FIDO keys are enrolled (ssh-keygen -t ed25519-sk), for which somebody has
to touch a device. With --plain any Ed25519 or P-256 key is: only for keys that
no program on this machine reaches.";

pub(super) const APPROVER_LIST: &str = "\
Examples:
  guard approver list
  guard approver list --json | jq -r '.[].keys[].fingerprint'";

pub(super) const APPROVER_INVITE: &str = "\
Examples:
  sudo guard approver invite bob --answers-for dev
  sudo guard approver invite bob --answers-for dev --policy 'prod-*' --max-for 15m";

pub(super) const APPROVER_PRESENT: &str = "\
Examples:
  guard approver present 3q2-7w --ssh-key id_ed25519_sk.pub";

pub(super) const APPROVER_ACCEPT: &str = "\
Examples:
  sudo guard approver accept bob SHA256:kvcOmWPrOJpNpE3Mvl6CkEJPiwoxrpHvgP4Sj5vzjEg";

pub(super) const APPROVER_ADD: &str = "\
Examples:
  sudo guard approver add alice --ssh-key alice.pub --answers-for dev
  sudo guard approver add alice --passkey ID:KEY --answers-for dev";

pub(super) const APPROVER_REMOVE: &str = "\
Examples:
  sudo guard approver remove alice
  sudo guard approver remove SHA256:kvcOmWPrOJpNpE3Mvl6CkEJPiwoxrpHvgP4Sj5vzjEg";

pub(super) const NOTIFY: &str = "\
Examples:
  guard notify
  guard notify --bell                     in a terminal, where there is no
                                          desktop

With every session of your desktop: systemctl --user enable --now guard-notify";

pub(super) const OPEN: &str = "\
Examples:
  guard open 192.0.2.10:443
  guard open db.example.com --ports tcp/5432 --for 10m --reason 'migrate the schema'
  guard open photos.example.com --read-only
  guard open 192.0.2.64/26 --all-ports --session s2 --connections 3";

pub(super) const HOLES: &str = "\
Examples:
  guard holes
  guard holes --json";

pub(super) const CLOSE: &str = "\
Examples:
  guard close h1
  guard close h1 h2
  guard close --all";

pub(super) const SESSIONS: &str = "\
Examples:
  guard sessions
  guard sessions --json";

pub(super) const FLOWS: &str = "\
Examples:
  guard flows
  guard flows --session s1 --since 10m
  guard flows --json | jq -r '.[] | [.program, .host // .address, .port] | @tsv'

A TCP connection is listed once it is established, and its bytes once it is
closed. What a session's own servers get is not listed; what was refused is in
`guard log`.";

pub(super) const STOP: &str = "\
Examples:
  guard stop s1
  guard stop s1 s2
  guard stop agent.service";

pub(super) const STATUS: &str = "\
Examples:
  guard status
  guard status --all
  guard status --json | jq .enforcing";

pub(super) const METRICS: &str = "\
Examples:
  guard metrics                           as root; in OpenMetrics
  sudo systemctl enable --now guard-metrics.socket
  curl http://127.0.0.1:9478/metrics

In prometheus.yml, under scrape_configs:
  - job_name: guard
    static_configs: [{targets: [\"127.0.0.1:9478\"]}]

For root and members of the group guard.";

pub(super) const DEBUG: &str = "\
Examples:
  guard debug kernel-log s1               as root; then: journalctl -fu guardd";

pub(super) const KERNEL_LOG: &str = "\
Examples:
  guard debug kernel-log s1               what the kernel half decides for one
                                          session
  guard debug kernel-log all              for all, and for cgroups that no
                                          session owns
  guard debug kernel-log off
  journalctl -fu guardd                   where it is written

As root. 64 lines a second at most; guardd says how many more there were. It
ends with guardd, too. Switching it loads the kernel half's programs again: what
is enforced does not change.";

pub(super) const DOCTOR: &str = "\
Examples:
  guard doctor                            what is wrong, and how to mend it
  guard doctor --all                      each thing that was tried, and what
                                          was seen
  sudo guard doctor --user agent
  guard doctor --explain                  the rows there are, and what each is
                                          about
  guard doctor --explain ptrace
  guard doctor --json | jq -r '.[] | select(.required and (.ok | not)) | .fix'

Each row was tried out, by guardd what takes root, and in a session of its own
what must fail there.

Exit status: 0; 1 if a required row is not ok; 2 it could not look at all.";

pub(super) const CHECK: &str = "\
Examples:
  guard check agent.toml
  guard check homelab
  guard check /etc/guard/policies/*.toml";

pub(super) const FLEET: &str = "\
Examples:
  guard fleet status
  guard fleet machines
  guard fleet policy sign --group ci --base base policies/ > bundle
  guard fleet policy push bundle

guard-fleet is a package of its own; `guard fleet --help` is its help.";

pub(super) const POLICY_SIGN: &str = "\
Examples:
  guard policy sign --group ci --base base policies/ > bundle
  guard policy sign bundle > bundle.2     a second person, where two have to sign

It shows what is signed, asks at a terminal, and needs no guardd. ssh-keygen or
ssh-agent signs. `guard-fleet push bundle` brings it to the machines of its
groups, whose guardd.toml says under [fleet] who may sign.";

pub(super) const POLICY_OFFER: &str = "\
Examples:
  sudo guard policy offer bundle
  ssh root@host guard policy offer - < bundle

guardd checks signatures, group and serial, and compiles each policy, before
anything changes. What was in force before stands where it refuses.";

pub(super) const POLICY: &str = "\
Examples:
  guard policy list
  guard policy show default
  sudo guard policy edit homelab          a copy in /etc/guard/policies, opened
                                          in $EDITOR

The first of these that has a policy of that name wins: /etc/guard/policies,
/usr/share/guard/policies, what is built in; then your own
~/.config/guard/policies.";

pub(super) const POLICY_LIST: &str = "\
Examples:
  guard policy list
  guard policy list --json | jq -r '.[].name'";

pub(super) const POLICY_SHOW: &str = "\
Examples:
  guard policy show default
  guard policy show ci > ci.toml";

pub(super) const POLICY_EDIT: &str = "\
Examples:
  sudo guard policy edit homelab
  EDITOR=nano guard policy edit homelab --policy-dir ~/policies
  guard policy edit shop                  one of your own, where it is";

pub(super) const POLICY_APPLY: &str = "\
Examples:
  guard policy apply shop                 shows what changes, and asks
  guard policy apply shop --yes           where it only narrows
  guard policy apply ./agent.toml --session s1

A session is judged by the text that its policy's file had when it began, as
whatever runs as you may write to that file. Nothing inside a session can apply
one. guardd's own policies need none of this: they hold once they are saved.

Exit status: 0; 1 you said no; 2 it could not be done, or lets more through and
nobody could be asked.";

pub(super) const DIFF: &str = "\
Examples:
  guard diff homelab ./homelab.toml
  guard diff old.toml new.toml --json | jq '.changes, .names'
  guard diff --observed ci learned.toml   what the learned policy closes of
                                          what was observed

All addresses, protocols and ports are compared, none is sampled; and names: by
their rules, and by what they stand for here and now.

Exit status: 0 they are equal; 1 they differ; 2 it could not be done.";

pub(super) const EXPLAIN: &str = "\
Examples:
  guard explain 192.0.2.10:443
  guard explain 192.0.2.0/24 --ports tcp/22 --policy homelab
  guard explain 169.254.169.254 --policy ./agent.toml
  guard explain db.example.com --session s1";

pub(super) const DISCOVER: &str = "\
Examples:
  guard discover                          what is in reach from here, and what
                                          the policy default says of it
  guard discover --why 2                  why the second is listed, and the
                                          rule that is proposed for it
  guard discover --why db.example.net:5432
                                          the same by its place, which stays
                                          when numbers change
  guard discover --write shop             a policy of yours with these rules;
                                          asks where one widens
  guard discover --dismiss db.example.net:5432
                                          that is not production
  guard discover --dismiss-file .env.vault
                                          nobody has to know what is in it
  guard discover --deep --strict          Markdown, too; denies what nothing
                                          here needs
  guard discover --policy ./agent.toml --check
  guard discover --json | jq -r '.items[] | select(.label == \"production\") | .host'

It reads the environment, the kernel's routes, your home's settings and those
of DIR, and connects to nothing, not even to resolve a name. Secrets are shown
nowhere.

Exit status: 0; with --check 1 if something that looks like production is open,
or something was passed over; 2 it could not be done.";

pub(super) const TRUST: &str = "\
Examples:
  guard trust                             what .guard.toml would widen of the
                                          policy of guard run; asks
  guard trust --policy homelab            the same of another one
  guard trust --withdraw                  take the yes back

A project's .guard.toml judges its sessions beside your policy, and both have
to allow. Lines that would widen that are agreed to at a terminal, by the hash
of the file: after any change it is asked about again.

Exit status: 0; 1 you said no; 2 it could not be done.";

pub(super) const SETUP: &str = "\
Examples:
  guard setup                             in the project's directory, before
                                          the first guarded command
  guard setup shop --policy homelab       the policy shop begins with what
                                          homelab says
  guard setup --agent codex               the settings of Codex alone
  guard setup --print                     what each step would change

Each step says which command does it alone (guard doctor, guard discover, guard
discover --write, guard init), shows what it would change, and asks first. What
you leave out can be done later.

Exit status: 0; 1 if this machine cannot enforce all that is required; 2 it
could not be done.";

pub(super) const EXPLAIN_ERROR: &str = "\
Examples:
  guard explain-error                     each code, with its message
  guard explain-error no-guardd
  guard explain-error --json | jq -r '.[].code'

Needs no guardd.";

pub(super) const WATCH: &str = "\
Examples:
  guard watch
  guard watch --no-bell
  sudo guard watch                        the requests of everybody's sessions

Keys: f, y, h  yes, for 5 min, 15 min, 1 h
      n, N  no, for 1 min, 8 h
      o  yes as the last time, for the same rule
      c  yes to some connections     s  yes to some bytes
      p, w  HTTP: yes to a path, to all writes
      r  yes to reads alone     i  yes to the address alone, not its name
      Space, a  mark one, all of its session     x  close a hole
      Enter  details     /  filter     b  bell
      ?  help     q  quit
      Tab  the next list: requests, holes, sessions, log, what was reached

Connections wait for your answer while it runs. NO_COLOR turns colours off. It
needs a terminal of 40x10 or more: where there is none, use `guard approve`,
`guard deny` and `guard pending --follow`.";

pub(super) const LOG: &str = "\
Examples:
  guard log --since 1h
  guard log -n 20
  guard log --follow --session s1
  guard log --json | jq 'select(.kind == \"hole-open\")'
  sudo guard log --verify                 is it whole? and its head, to be
                                          noted elsewhere
  sudo guard log --verify --head 1042:3f9c…    is what was noted still in it?
  guard log --verify copies/audit.jsonl*
  sudo guard log --verify --signatures    who signed a yes to what; needs no
                                          guardd

Exit status: 0; 1 if --verify finds that it is not whole; 2 it could not be
done.";

pub(super) const REPORT: &str = "\
Examples:
  guard report --since 1h
  guard report --session s1 --format markdown > report.md
  guard report --name \"$CI_JOB_ID\" --format gitlab --fail-on denied
  guard report --json | jq '.stopped[].destination'

Exit status: 0; 1 if there was what --fail-on names; 2 it could not be done, as
where no session is meant.";

pub(super) const SUGGEST: &str = "\
Examples:
  guard suggest --since 1d
  guard suggest --session s1 > lines.toml
                                          then read it, and paste what you like
  guard suggest --json | jq '.left_out[]'
  guard suggest --from-flows --name job > learned.toml
                                          after guard run --observe --name job
  guard suggest --from-flows flows-*.json > learned.toml
                                          of what guard flows --json wrote elsewhere

A yes becomes a rule that allows what was answered and nothing more; a no, one
that denies it. Answers that contradict each other are left out, and said.
--from-flows prints a whole policy: what was reached passes, by names where
names are known, and all else is denied.";

pub(super) const WHY: &str = "\
Examples:
  guard why
  guard why --since 30s
  guard why --json
  guard why --hook                        as agents run it after a command: see
                                          guard init";

pub(super) const REQUEST: &str = "\
Examples:
  guard request 192.0.2.10:443 --reason 'read the job queue'
  guard request db.example.com --ports tcp/5432";

pub(super) const INIT: &str = "\
Examples:
  guard init claude-code                  shows what it would write, and asks
  guard init codex --user --yes
  guard init gemini --print
  guard init claude-code --remove

It enters the MCP server guard mcp, and guard why --hook to be run after each
command. Both tell and ask; neither opens anything. Then start the agent with
guard run.";

pub(super) const MCP: &str = "\
Examples:
  guard init claude-code                  has the agent start it

Tools: why, request and status. There is none that answers, opens or closes.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  guard completions fish | source         in ~/.config/fish/config.fish
  source <(guard completions bash)        in ~/.bashrc; zsh: in ~/.zshrc, after
                                          compinit

They ask guardd for the ids of requests, holes and sessions, and know policies,
too. Packages have installed them already.";

pub(super) const MAN: &str = "\
Examples:
  guard man /usr/share/man/man1";
