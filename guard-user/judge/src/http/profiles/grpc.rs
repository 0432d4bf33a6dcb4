//! gRPC: `POST /package.Service/Method` (the protocol's `PROTOCOL-HTTP2.md`), and gRPC-Web.

use guard_policy::Profile;

use super::{
    super::{glob::matches, headers::shown},
    Opinion, View,
};

pub(super) fn judge(view: &View<'_>) -> Opinion {
    let media_type = view.media_type().unwrap_or_default();
    let [service, method] = view.segments()[..] else {
        return Opinion::None;
    };
    if !view.is_post() || !is_grpc(&media_type) {
        return Opinion::None;
    }
    let called = format!("{service}/{method}");
    let listed = view.lists.grpc_methods.iter().any(|m| matches(m, &called));
    if listed {
        Opinion::read(Profile::Grpc, &format!("`{}`", shown(&called)))
    } else {
        Opinion::doubt(
            Profile::Grpc,
            format!("calls `{}` (gRPC)", shown(&called)),
            "the method is not in `grpc_methods`",
        )
    }
}

/// `application/grpc`, and that with a format of messages behind `+`.
fn is_grpc(media_type: &str) -> bool {
    const TYPES: &[&str] = &[
        "application/grpc",
        "application/grpc-web",
        "application/grpc-web-text",
    ];
    let plain = media_type.split('+').next().unwrap_or_default();
    TYPES.contains(&plain)
}
