//! The lab: network namespaces that play production, and a guardd of one's own.
