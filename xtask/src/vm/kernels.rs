//! The kernels, and what comes with each.

use clap::ValueEnum;

/// A kernel, and the release of Debian that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Kernel {
    /// The oldest that guard supports; Debian 12, systemd 252
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13, systemd 257
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    pub(super) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    pub(super) fn codename(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
        }
    }

    /// The packages of engines for containers, and what makes an image for them.
    pub(super) fn engines(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 => &[
                "aardvark-dns",
                "apparmor",
                "busybox-static",
                "catatonit",
                "crun",
                "docker.io",
                "netavark",
                "podman",
            ],
            Self::V6_12 => &[
                "aardvark-dns",
                "apparmor",
                "busybox-static",
                "catatonit",
                "crun",
                "docker-cli",
                "docker.io",
                "netavark",
                "podman",
            ],
        }
    }
}
