//! x
use guard_user::datapath::*;
fn main() {
    let places = Places {
        pin_dir: "/sys/fs/bpf/guard-smoke".into(),
        cgroup_root: "/sys/fs/cgroup/unified/guard-smoke".into(),
    };
    let _d = Datapath::start(&places).unwrap();
}
