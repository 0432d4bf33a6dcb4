//! x
use guard_user::{datapath::*, policy};
fn main() {
    let places = Places {
        pin_dir: "/sys/fs/bpf/guard-perf".into(),
        cgroup_root: "/sys/fs/cgroup/unified/guard-perf".into(),
    };
    let (mut d, _) = Datapath::start(&places).unwrap();
    let mut text = String::from(
        "version = 1\nname = \"x\"\ndefault = \"allow\"\n[[rule]]\nname = \"prod\"\nto = [",
    );
    let n: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    for i in 0..n {
        text += &format!(
            "\"{}.{}.{}.{}/27\",",
            11 + (i >> 19),
            (i >> 11) & 255,
            (i >> 3) & 255,
            (i & 7) * 32
        )
        .replace("/27", if i % 2 == 0 { "/27" } else { "/28" });
    }
    text += "]\nports=[\"tcp/1-100\"]\naction = \"confirm\"\n";
    let t = std::time::Instant::now();
    let p = policy::parse("x.toml", &text).unwrap().policy;
    println!("parse {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let c = policy::compile(&p, &Default::default()).unwrap();
    println!("compile {:?} {} prefixes", t.elapsed(), c.prefixes.len());
    let t = std::time::Instant::now();
    let id = d.install_policy(None, &c).unwrap();
    println!("install {:?}", t.elapsed());
    let t = std::time::Instant::now();
    d.install_policy(Some(id), &c).unwrap();
    println!("install again {:?}", t.elapsed());
    let t = std::time::Instant::now();
    d.install_policy(Some(id), &c).unwrap();
    println!("install third {:?}", t.elapsed());
    let s = d.add_session(&[id]).unwrap();
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
            "{}{}",
            String::from_utf8_lossy(&o.stdout),
            String::from_utf8_lossy(&o.stderr)
        );
    };
    std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").unwrap();
    let show = || {
        for p in aya::programs::loaded_programs().flatten() {
            if p.run_count() > 0 {
                println!(
                    "{:?} {} runs {} ns",
                    p.name_as_str(),
                    p.run_count(),
                    p.run_time().as_nanos() / u128::from(p.run_count())
                );
            }
        }
    };
    run(
        "python3 -c 'import socket\ns=socket.socket(2,2)\nr=socket.socket(2,2);r.bind((\"127.0.0.1\",0))\ns.connect(r.getsockname())\nfor i in range(200000): s.send(b\"x\"*64)'",
    );
    show();
    run(
        "python3 -c 'import socket\nl=socket.socket();l.bind((\"127.0.0.1\",0));l.listen(10)\nfor i in range(20000):\n s=socket.socket();s.connect(l.getsockname());a=l.accept();s.close();a[0].close()'",
    );
    show();
    std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "0").unwrap();
    let t = std::time::Instant::now();
    d.remove_policy(id).unwrap();
    println!("remove {:?}", t.elapsed());
    let t = std::time::Instant::now();
    d.end_session(&s).unwrap();
    drop(d);
    println!("{:?} {:?}", teardown(&places, true), t.elapsed());
}
