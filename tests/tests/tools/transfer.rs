//! What fetches, sends and looks up.

use crate::tools::tool::{Claim, told, tool, tools};

const ASKS: Claim = told(
    "Operation not permitted",
    "policy.md",
    "`@multicast`: 224.0.0.0/4, 255.255.255.255, ff00::/8",
);

const PRIVATE: &str =
    "`@private`: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7";
const PRIVATE_ASKS: Claim = told(
    "curl: stopped, waits for a person\ngit: stopped, waits for a person\n",
    "policy.md",
    PRIVATE,
);
const KUBECTL_ASKS: Claim = told(
    "operation not permitted, waits for a person\n",
    "policy.md",
    PRIVATE,
);

tools! { "Transfers";
    git_file: tool("git over `file:`: clone, commit, push");
    git_https: tool("git over `https:`: clone, push");
    git_ssh: tool("git over ssh: clone, push");
    ssh_key: tool("ssh and scp with a key in a file");
    curl: tool("curl over `https:` and `http:`");
    wget: tool("wget over `https:`");
    dns: tool("names: `getent`, Python's and Node's own");
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    kubectl: tool("kubectl, of a cluster in a public network");
    private: tool("curl and git to a private address, about which `default` asks").always(PRIVATE_ASKS);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    kubectl_private: tool("kubectl, of a cluster in a private network").always(KUBECTL_ASKS);
    multicast: tool("UDP to a multicast group, about which `default` asks").always(ASKS);
}
