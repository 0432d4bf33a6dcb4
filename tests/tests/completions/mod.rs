//! What TAB offers, in the shells that people have, as the installed scripts are read by them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use guard_lab::{AGENT, CONFIRMS, Running, Scene, Tested, holds_scene};

use crate::mistakes::number_one_of_each;
use crate::watch::terminal::{Tmux, Window};

/// How each shell is started with nothing of anybody's, and how it reads its script.
const SHELLS: [(&str, &[&str], &str); 3] = [
    (
        "bash",
        &["bash", "--norc", "--noprofile"],
        "source <(guard completions bash)",
    ),
    (
        "zsh",
        &["zsh", "-f"],
        "autoload -Uz compinit; compinit -D; source <(guard completions zsh)",
    ),
    (
        "fish",
        &["fish", "--no-config"],
        "set -g fish_autosuggestion_enabled 0; guard completions fish | source",
    ),
];

/// What is typed before TAB, and what stands there then.
const COMPLETED: [(&str, &str); 16] = [
    ("guard sugg", "guard suggest"),
    ("guard approve ", "guard approve r1"),
    ("guard deny ", "guard deny r1"),
    ("guard close ", "guard close h1"),
    ("guard question ", "guard question r1"),
    ("guard flows --session ", "guard flows --session s1"),
    ("guard stop ", "guard stop s1"),
    ("guard log --session ", "guard log --session s1"),
    ("guard explain --session ", "guard explain --session s1"),
    ("guard open --session ", "guard open --session s1"),
    ("guard policy show hom", "guard policy show homelab"),
    ("guard run --policy hom", "guard run --policy homelab"),
    ("guard run --policy ask", "guard run --policy asks"),
    ("guard check min", "guard check mine.toml"),
    (
        "guard log --verify --head 1:0 not",
        "guard log --verify --head 1:0 notes.txt",
    ),
    ("guard run -- zza", "guard run -- zzagent"),
];

struct TerminalScene {
    scene: Scene,
    home: PathBuf,
    tmux: Tmux,
    _shell: Running,
}

holds_scene!(TerminalScene);

impl TerminalScene {
    fn new() -> Tested<Self> {
        let scene = Scene::new("asks", CONFIRMS)?;
        let shell = number_one_of_each(&scene)?;
        let terminals = Self {
            home: scene.daemon.dir().join("home"),
            tmux: Tmux::start(scene.daemon.dir()),
            scene,
            _shell: shell,
        };
        terminals.fill()?;
        Ok(terminals)
    }

    /// A directory of the person's, with guard and one program of its own in PATH.
    fn fill(&self) -> Tested {
        let open = |mode| fs::Permissions::from_mode(mode);
        fs::create_dir(&self.home)?;
        fs::set_permissions(&self.home, open(0o777))?;
        for name in ["mine.toml", "notes.txt"] {
            fs::write(self.home.join(name), "")?;
        }
        let bin = self.home.join("bin");
        fs::create_dir(&bin)?;
        let guard = self.daemon.program("guard")?;
        symlink(guard, bin.join("guard"))?;
        fs::write(bin.join("zzagent"), "#!/bin/sh\n")?;
        fs::set_permissions(bin.join("zzagent"), open(0o755))?;
        Ok(())
    }

    /// The user's shell of that kind, which has read its script.
    fn shell(&self, (name, shell, source): (&str, &[&str], &str)) -> Tested<Window<'_>> {
        let uid = AGENT.to_string();
        let path = std::env::var("PATH")?;
        let env = [
            format!("PATH={}:{path}", self.home.join("bin").display()),
            format!("HOME={}", self.home.display()),
            format!("GUARD_SOCKET={}", self.daemon.socket().display()),
            "PS1=ready$ ".to_owned(),
            "TERM=xterm".to_owned(),
        ];
        let user = [
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
        ];
        let mut words = user.to_vec();
        words.extend(["env", "-C", self.home.to_str().unwrap()]);
        words.extend(env.iter().map(String::as_str));
        words.extend(shell);
        let window = self.tmux.start_in(name, [100, 30], &words);
        window.enter(&format!("{source}; clear; echo re'ad'"));
        window.expect_that("the script is read", |screen| {
            screen.lines().any(|line| line.trim() == "read")
        });
        Ok(window)
    }
}

/// A name that a shell would run, were it typed like this; a cloned project may have such a file.
const HOSTILE: &str = "zz$(touch pwned).toml";

/// A policy in which something is wrong, so that it is known to have been read.
const BROKEN: &str = "colour = 2\n";

#[test]
fn a_files_name_is_no_command() -> Tested {
    let scene = TerminalScene::new()?;
    for name in [HOSTILE, "my policy.toml"] {
        fs::write(scene.home.join(name), BROKEN)?;
    }
    let pwned = scene.home.join("pwned");
    for shell in SHELLS {
        let window = scene.shell(shell)?;
        let mut count = 0;
        // Types words, and TAB behind them; what stands there then is run to its end.
        let mut run = |typed: &str, completed: &str| {
            count += 1;
            window.enter("clear");
            window.type_text(typed);
            if !completed.is_empty() {
                window.press(&["Tab"]);
                let what = format!("{}: {typed:?} is completed", shell.0);
                window.expect_that(&what, |screen| {
                    let line = screen.trim_end().lines().next_back().unwrap_or_default();
                    line.contains(typed) && line.contains(completed)
                });
            }
            window.enter(&format!("; echo do'ne'-{count}"));
            window.expect(&format!("done-{count}\n"));
        };
        // Typed as it is, it is one.
        run(&format!("echo {HOSTILE}"), "");
        assert!(pwned.exists(), "{}", shell.0);
        fs::remove_file(&pwned)?;
        let quoted = (shell.0 == "bash").then_some("guard check \"zz");
        let bare = [
            "guard check zz",
            "guard check ./zz",
            "guard run --policy ./zz",
        ];
        for typed in bare.into_iter().chain(quoted) {
            run(typed, "touch");
            assert!(!pwned.exists(), "{}: {typed}", shell.0);
        }
        run("guard check my", "policy.toml");
        window.expect("colour");
    }
    Ok(())
}

#[test]
fn each_shell_completes_what_only_guardd_knows() -> Tested {
    let scene = TerminalScene::new()?;
    for shell in SHELLS {
        let window = scene.shell(shell)?;
        for (typed, completed) in COMPLETED {
            window.type_text(typed);
            window.press(&["Tab"]);
            let what = format!("{}: {typed:?} becomes {completed:?}", shell.0);
            window.expect_that(&what, |screen| {
                let line = screen.trim_end().lines().next_back().unwrap_or_default();
                line.trim_end().ends_with(completed)
            });
            window.press(&["C-u"]);
            window.expect_no(completed);
        }
    }
    Ok(())
}
