//! What closes ways on some kernels only.

use anyhow::Result;
use guard_launch::landlock;

use crate::escapes::helpers::USER;
use crate::escapes::scene::shared;

/// A part of guard that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Unix sockets outside are refused.
    UnixSockets,
    /// Network sockets that were made outside are refused when they are used, or do not arrive.
    MadeOutside,
    /// They do not arrive, whatever they are, and connected or not.
    Arriving,
    /// The session's Landlock domain, which keeps it out of other processes.
    Domain,
    /// What the domain keeps it from besides: abstract names.
    Scopes,
    /// Signals to processes outside are refused, by the domain or before it by a hook.
    Signals,
}

impl Layer {
    /// The hooks that are it, any of which serves; none where it is no hook.
    const fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::UnixSockets => &["unix_stream_connect", "connect_unix"],
            Self::MadeOutside => &["file_receive", "top_connect4"],
            Self::Arriving => &["file_receive"],
            Self::Signals => &["task_kill"],
            Self::Domain | Self::Scopes => &[],
        }
    }

    /// Whether it is there, on this machine.
    pub(crate) fn is_there(self) -> Result<bool> {
        match self {
            Self::UnixSockets | Self::MadeOutside | Self::Arriving => self.has_hook(),
            Self::Domain => Ok(landlock::layers()?.tracing),
            Self::Scopes => Ok(landlock::layers()?.abstract_sockets),
            Self::Signals => Ok(landlock::layers()?.signals || self.has_hook()?),
        }
    }

    fn has_hook(self) -> Result<bool> {
        let daemon = &shared()?.daemon;
        for hook in self.hooks() {
            if daemon.has_hook(hook)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// For which kernels it is claimed.
    pub(crate) const fn kernels(self) -> &'static str {
        match self {
            Self::UnixSockets => "6.7 and later; before, with security hooks",
            Self::MadeOutside => "6.1 and later, with BTF",
            Self::Arriving => "6.1 and later, with security hooks",
            Self::Signals => "6.12 and later, with Landlock; before, with security hooks",
            Self::Domain => "6.1 and later, with Landlock",
            Self::Scopes => "6.12 and later, with Landlock",
        }
    }

    /// What to do without.
    pub(crate) const fn instead(self) -> &'static str {
        match self {
            Self::UnixSockets | Self::Scopes | Self::Signals => USER,
            Self::MadeOutside => "run the agent as a user of its own",
            Self::Arriving => {
                "run the agent as a user of its own, or trust what hands out sockets as your user"
            }
            Self::Domain => {
                "run the agent as a user of its own, or `sysctl kernel.yama.ptrace_scope=1`"
            }
        }
    }
}
