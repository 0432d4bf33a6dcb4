//! x
use guard_user::{datapath::*, policy};
fn main() {
    let places = Places {
        pin_dir: "/sys/fs/bpf/guard-smoke".into(),
        cgroup_root: "/sys/fs/cgroup/unified/guard-smoke".into(),
    };
    if std::env::args().nth(1).as_deref() == Some("down") {
        println!("{:?}", teardown(&places, true));
        return;
    }
    let t = std::time::Instant::now();
    let (mut d, s) = match Datapath::start(&places) {
        Ok(x) => x,
        Err(e) => {
            println!("{e}\nfix: {}", e.fix());
            return;
        }
    };
    println!("{s:?} {:?} {:?}", t.elapsed(), d.read_back());
    let p = policy::parse(
        "x.toml",
        r#"
version = 1
name = "x"
default = "allow"
[[rule]]
name = "prod"
to = ["127.0.0.5/32"]
ports = ["tcp/1-100"]
action = "confirm"
"#,
    )
    .unwrap()
    .policy;
    let c = policy::compile(&p, &Default::default()).unwrap();
    let id = d.install_policy(None, &c).unwrap();
    let s = d.add_session(&[id]).unwrap();
    println!("{s:?}");
    let run = |what: &str| {
        let o = std::process::Command::new("bash")
            .arg("-c")
            .arg(format!(
                "echo $$ > {}/cgroup.procs; {what}",
                s.path.display()
            ))
            .output()
            .unwrap();
        println!(
            "{what} -> {:?} {}{}",
            o.status.code(),
            String::from_utf8_lossy(&o.stdout),
            String::from_utf8_lossy(&o.stderr)
        );
    };
    run(
        "python3 -c 'import socket;s=socket.socket();print(s.connect_ex((\"127.0.0.5\",80)), s.connect_ex((\"127.0.0.5\",101)))'",
    );
    run(
        "python3 -c 'import socket;s=socket.socket(socket.AF_INET6);print(s.connect_ex((\"::ffff:127.0.0.5\",80)), s.connect_ex((\"::ffff:127.0.0.5\",101)))'",
    );
    run("python3 -c 'import socket;s=socket.socket(2,2,136)'; ping -c1 -W1 127.0.0.1 | tail -2");
    let h = d
        .open_hole(
            s.id,
            NewHole {
                prefix: guard_common::Address::from(std::net::Ipv4Addr::new(127, 0, 0, 5)),
                prefix_len: 128,
                protocol: guard_common::Protocol::TCP,
                low: 80,
                high: 80,
                expires: guard_common::BootTime(guard_user::sys::clock::now().0 + 5_000_000_000),
                connections: Some(2),
            },
        )
        .unwrap();
    run(
        "python3 -c 'import socket\nfor i in range(3): s=socket.socket();print(s.connect_ex((\"127.0.0.5\",80)), s.connect_ex((\"127.0.0.5\",101)))'",
    );
    println!("{:?} {:?}", h, d.holes());
    d.close_hole(s.id, h).unwrap();
    let mut ev = d.events().unwrap();
    while let Some(e) = ev.next() {
        println!("{e:?}");
    }
    println!("{:?}", d.stats());
    println!("{:?}", d.attempts(s.id));
    d.end_session(&s).unwrap();
    d.forget_session(&s).unwrap();
}
