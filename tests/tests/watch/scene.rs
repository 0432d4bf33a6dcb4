//! A guardd, production, and a shell in a session.

use anyhow::Result;
use guard_lab::{Attempt, Scene, Shell, Tested, holds_scene};

use crate::watch::terminal::{Tmux, Window};
use crate::watch::{POLICY, PORT, READ_ONLY};

/// One with terminals for people.
pub(crate) struct WatchScene {
    pub(crate) scene: Scene,
    pub(crate) tmux: Tmux,
}

holds_scene!(WatchScene);

impl WatchScene {
    pub(crate) fn new() -> Tested<Self> {
        let scene = Scene::with(|daemon| daemon.policy("asks", POLICY).policy("reads", READ_ONLY))?;
        let tmux = Tmux::start(scene.daemon.dir());
        Ok(Self { scene, tmux })
    }

    pub(crate) fn shell(&self) -> Result<Shell> {
        self.scene.shell("asks")
    }

    /// A screen that follows already.
    pub(crate) fn watch(&self, name: &str) -> Window<'_> {
        self.watch_with(name, &[])
    }

    pub(crate) fn watch_with(&self, name: &str, args: &[&str]) -> Window<'_> {
        let window = self.tmux.window(name);
        window.guard(&self.daemon.root(["watch"]).args(args.to_vec()));
        window.expect("Requests");
        window.expect_no("asking guardd");
        window
    }
}

/// Tries production at an address, which is refused and asked about unless a hole lets it through.
pub(crate) fn reaches(shell: &mut Shell, address: &str) -> Result<bool> {
    shell.reaches(&Attempt::tcp(address, PORT))
}

/// A person looks before a key is pressed: what has just come up takes no answer, for 300 ms from when it was drawn.
pub(crate) fn look() {
    std::thread::sleep(std::time::Duration::from_millis(600));
}
