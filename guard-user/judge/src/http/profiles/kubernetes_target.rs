//! What a path of the Kubernetes API names.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/>

/// A resource, an object of it, or a subresource of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The API group; empty for the core one.
    pub(super) group: &'a str,
    pub(super) namespace: Option<&'a str>,
    /// In the plural: `pods`.
    pub(super) resource: &'a str,
    pub(super) name: Option<&'a str>,
    /// `exec`, `log` and so on.
    pub(super) subresource: Option<&'a str>,
    /// Whether more follows.
    pub(super) more: bool,
}

impl<'a> Target<'a> {
    /// What `/api/v1/...` or `/apis/GROUP/VERSION/...` names; none for other paths.
    pub(super) fn of(segments: &[&'a str]) -> Option<Self> {
        let (group, rest) = match segments {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return None,
        };
        // The old way to watch, and to reach through, without a namespace of its own.
        let rest = match rest {
            ["watch", rest @ ..] => rest,
            _ => rest,
        };
        let (namespace, rest) = match rest {
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let [resource, rest @ ..] = rest else {
            return None;
        };
        Some(Self {
            group,
            namespace,
            resource,
            name: rest.first().copied(),
            subresource: rest.get(1).copied(),
            more: rest.len() > 2,
        })
    }

    /// The target as people write it: `pods/web` or `pods/web/exec`.
    pub(super) fn shown(&self) -> String {
        let parts = [Some(self.resource), self.name, self.subresource];
        let path: Vec<_> = parts.into_iter().flatten().collect();
        let path = super::super::headers::shown(&path.join("/"));
        match self.namespace {
            Some(namespace) => format!("{path} in {}", super::super::headers::shown(namespace)),
            None => path,
        }
    }
}
