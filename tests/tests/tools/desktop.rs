//! What draws.

use crate::tools::tool::{Claim, SLOW, Way, tool, tools};

const NO_ROOT: Claim = Claim::NotAsRoot {
    seen: "Running as root without --no-sandbox is not supported",
};

tools! { "Displays and browsers";
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    xvfb: tool("Xvfb and xdpyinfo").not_in_machines(SLOW);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    chromium: tool("Chromium, headless, with its sandbox")
        .but(Way::AsRoot, NO_ROOT)
        .not_in_machines(SLOW);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    chromium_no_sandbox: tool("Chromium, headless, without its sandbox").not_in_machines(SLOW);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    playwright: tool("Playwright: a page of a server of Node's, in Chromium").not_in_machines(SLOW);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    playwright_test: tool("Playwright's test runner: two files at once, in Chromium").not_in_machines(SLOW);
}
