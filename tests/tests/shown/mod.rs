//! `tls = "name"`: where addresses are shared, TLS has to show a name that the policy allows. In the kernel, and by the proxy.

mod gate;
mod read_only;
pub(crate) mod scene;
