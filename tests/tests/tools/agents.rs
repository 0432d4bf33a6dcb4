//! Coding agents, with a model that stands in: it has each run one command, which fetches something from production, about which
//! the policy asks, and then says what the agent told it.

use crate::tools::tool::{Claim, told, tool, tools};

/// What comes of the command is what guard is for; that the model is told, and has the tools, is seen with it.
const TOLD: Claim = told(
    "command: refused, hook: told, tools: request status why",
    "agents.md",
    "The hook tells the last three refusals of the command's time",
);
const NOT_TOLD: Claim = told(
    "command: refused, hook: silent, tools: request status why",
    "agents.md",
    "Codex runs a hook only once you have looked at it: `/hooks`.",
);

tools! { "Agents, with a refused command";
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    claude: tool("Claude Code, `--print`").always(TOLD);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    codex: tool("Codex, `exec`").always(NOT_TOLD);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    gemini: tool("Gemini CLI, `--prompt`").always(TOLD);
}
