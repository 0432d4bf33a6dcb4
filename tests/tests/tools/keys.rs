//! What signs.

use crate::tools::tool::{tool, tools};

tools! { "Keys and signatures";
    ssh_agent: tool("ssh-agent and ssh-add");
    gpg_agent: tool("gpg -s with its agent");
    git_ssh_signed: tool("git commit -S, signed by ssh with an agent");
    git_gpg_signed: tool("git commit -S, signed by gpg");
}
