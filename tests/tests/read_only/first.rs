//! The first user's case: an agent that is to test a change finds the photo server's address and key in the project's `.env`, and
//! starts a job over all photos. Nothing is configured: the policy is the one that ships for a home.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use anyhow::Context as _;
use guard_lab::{
    AGENT, Json as _, Network, PATIENCE, Running, Scene, Shell, Tested, exec, holds_scene,
};
use serde_json::Value;

const SHIPPED: &str = include_str!("../../../policies/homelab.toml");
const IMMICH: &str = include_str!("immich.py");
const OPERATIONS: &str =
    include_str!("../../../guard-user/judge/src/http/services/immich.operations");
const SERVER: &str = "192.168.7.20";
const PORT: &str = "2283";
const KEY: &str = "hunter2hunter2hunter2";
const PHOTOS: u64 = 43_000;
const START: &str = r#"{"command":"start","force":true}"#;

/// What an agent types: a call of the server's API, with what `.env` says. Behind the answer stands its status.
const CALLS: &str = r#"set -a; . ./.env; set +a
api() {
  method=$1 path=$2; shift 2
  curl -sS -m 20 -w ' %{http_code}\n' -X "$method" -H "x-api-key: $IMMICH_API_KEY" \
    -H 'Content-Type: application/json' "$@" "$IMMICH_URL$path" </dev/null
}
stranger() { ( IMMICH_API_KEY=another; api "$@" ) }
"#;

struct HomeScene {
    scene: Scene,
    project: PathBuf,
    _server: Running,
}

holds_scene!(HomeScene);

/// What the server says to a call.
struct ApiReply {
    text: String,
    status: u16,
}

impl HomeScene {
    fn new() -> Tested<Self> {
        let network = Network::new()?;
        network.answer_for(&["192.168.7.0/24"])?;
        let mut python = network.prod().command("/usr/bin/python3");
        let photos = PHOTOS.to_string();
        let mut server = Running::start(python.args(["-c", IMMICH, SERVER, PORT, KEY, &photos]))?;
        server.line_with("serves", PATIENCE)?;
        let scene = Scene::on(network, |daemon| daemon.policy("homelab", SHIPPED))?;
        let project = scene.daemon.dir().join("project");
        fs::create_dir(&project)?;
        let env = project.join(".env");
        let url = format!("http://{SERVER}:{PORT}/api");
        fs::write(&env, format!("IMMICH_URL={url}\nIMMICH_API_KEY={KEY}\n"))?;
        for path in [&project, &env] {
            chown(path, Some(AGENT), Some(AGENT))?;
        }
        Ok(Self {
            scene,
            project,
            _server: server,
        })
    }

    /// A call without the guard.
    fn outside(&self, call: &str) -> Tested<ApiReply> {
        let mut sh = self.network.dev().command_as(AGENT, "sh");
        sh.current_dir(&self.project);
        let output = exec::output(sh.args(["-c", &format!("{CALLS}{call}")]))?;
        answer(&String::from_utf8_lossy(&output.stdout))
    }

    /// How many photos wait for a thumbnail, as their owner sees it.
    fn waiting(&self) -> Tested<u64> {
        let jobs = self.outside("api GET /jobs")?;
        assert_eq!(jobs.status, 200, "{}", jobs.text);
        let jobs: Value = serde_json::from_str(&jobs.text)?;
        let counts = &jobs["thumbnailGeneration"]["jobCounts"];
        Ok(counts["waiting"].as_u64().context("no count")?)
    }

    /// An agent in the project.
    fn agent(&self) -> Tested<Agent> {
        let mut shell = self.shell("homelab")?;
        shell.tell(&format!("cd {}", self.project.display()))?;
        shell.tell(CALLS)?;
        Ok(Agent(shell))
    }

    /// That a person is warned of the request for the job, and not of the one for a photo; gives the id of the first.
    fn job_is_warned_of(&self) -> Tested<String> {
        let pending = self.daemon.agent(["pending"]).list()?;
        let asked = |path: &str| {
            let is_it = |one: &&Value| one["http"]["path"].to_string().contains(path);
            pending
                .iter()
                .find(is_it)
                .with_context(|| format!("{path}: {pending:?}"))
        };
        let (asked_job, asked_photo) = (asked("/jobs/")?, asked("/assets/")?);
        let warnings = asked_job["http"]["warnings"].to_string();
        let warned = "much at once, or for good: a job over the whole library";
        assert!(warnings.contains(warned), "{warnings}");
        assert!(!asked_photo["http"]["warnings"].to_string().contains("much"));
        Ok(asked_job["id"].text()?.to_owned())
    }

    /// What `guard discover` finds in the project.
    fn found(&self) -> Tested<Value> {
        let discover = ["discover", "--policy", "homelab", "--json"];
        let guard = self.daemon.agent(discover);
        let mut command = guard.env("HOME", self.daemon.dir()).command()?;
        let output = exec::output(command.current_dir(&self.project))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

struct Agent(Shell);

impl Agent {
    fn calls(&mut self, call: &str) -> Tested<ApiReply> {
        // In one line; of a picture, what is text.
        let text = format!("$({call} | LC_ALL=C tr -cd '[:print:]')");
        self.0.tell(&format!("printf 'answer: %s\\n' \"{text}\""))?;
        answer(&self.0.line_with("answer: ")?)
    }

    fn looks_through_photos(&mut self) -> Tested {
        for (read, has) in [
            ("api GET /server/about", "v3.2.2"),
            ("api GET /albums", "Kyoto"),
            ("api GET /assets/a1", "kyoto.jpg"),
            ("api GET /assets/a1/thumbnail", "a picture"),
            (
                r#"api POST /search/metadata -d '{"city":"Kyoto"}'"#,
                "kyoto.jpg",
            ),
            ("api GET /jobs", "thumbnailGeneration"),
        ] {
            let ApiReply { text, status } = self.calls(read)?;
            assert!(
                status == 200 && text.contains(has),
                "{read}: {status} {text}"
            );
        }
        // What it is answered comes from the server, which asks for the key.
        assert_eq!(self.calls("stranger GET /albums")?.status, 401);
        Ok(())
    }
}

fn answer(line: &str) -> Tested<ApiReply> {
    let line = line.trim();
    let line = line.strip_prefix("answer: ").unwrap_or(line);
    let (text, status) = line.rsplit_once(' ').context("no status")?;
    Ok(ApiReply {
        text: text.to_owned(),
        status: status.parse()?,
    })
}

#[test]
fn photos_are_looked_through_and_the_job_waits_for_a_yes_with_nothing_configured() -> Tested {
    let scene = HomeScene::new()?;
    let job = format!("api PUT /jobs/thumbnailGeneration -d '{START}'");
    // As it was: 43,000 photos are made again, and nobody was asked.
    assert_eq!(scene.outside(&job)?.status, 200);
    assert_eq!(scene.waiting()?, PHOTOS);
    let empty = r#"api PUT /jobs/thumbnailGeneration -d '{"command":"empty"}'"#;
    assert_eq!(scene.outside(empty)?.status, 200);
    assert_eq!(scene.waiting()?, 0);

    // A person sees it before the agent starts.
    let found = scene.found()?;
    let place = &found["items"][0];
    assert_eq!(place["service"], "immich", "{found}");
    assert_eq!(place["label"], "production", "{found}");
    assert_eq!(place["now"]["verdict"], "read-only", "{found}");
    assert_eq!(place["effect"], "same", "{found}");
    assert!(!found.to_string().contains(KEY), "{found}");

    let mut agent = scene.agent()?;
    agent.looks_through_photos()?;
    let refusal = agent.calls(&job)?;
    assert_eq!(refusal.status, 403, "{}", refusal.text);
    let favourite = r#"api PUT /assets/a1 -d '{"isFavorite":true}'"#;
    assert_eq!(agent.calls(favourite)?.status, 403);
    assert_eq!(scene.waiting()?, 0);
    let asset = scene.outside("api GET /assets/a1")?.text;
    assert!(asset.contains(r#""isFavorite": false"#), "{asset}");

    // A yes is for the one, once.
    let id = scene.job_is_warned_of()?;
    scene.daemon.agent(["approve", &id]).run()?.success()?;
    assert_eq!(agent.calls(&job)?.status, 200);
    assert_eq!(scene.waiting()?, PHOTOS);
    assert_eq!(agent.calls(&job)?.status, 403);
    assert_eq!(agent.calls(favourite)?.status, 403);
    Ok(())
}

/// The server here has no route that Immich has not.
#[test]
fn the_server_that_stands_in_has_routes_of_immichs_description() -> Tested {
    let routes = IMMICH.lines().filter_map(|line| {
        let (method, rest) = line.trim().strip_prefix("(\"")?.split_once("\", r\"")?;
        Some((method, rest.split_once('"')?.0))
    });
    let routes: Vec<_> = routes.collect();
    assert_eq!(routes.len(), 8);
    for (method, pattern) in routes {
        let wanted = format!(
            "{method} {}",
            pattern.replace("(a1)", "{id}").replace(r"(\w+)", "{name}")
        );
        assert!(OPERATIONS.lines().any(|line| line == wanted), "{wanted}");
    }
    Ok(())
}
