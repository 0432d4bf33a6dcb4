//! The socket speaks Varlink: what a client that knows nothing of guard needs is there.

use guard_lab::{Daemon, Json as _, Tested};

use crate::control::Wire;

#[test]
fn the_socket_describes_itself_as_varlink_servers_do() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let mut wire = Wire::open(&daemon);
    let info = wire.call(r#"{"method":"org.varlink.service.GetInfo","parameters":{}}"#);
    let interfaces = info["parameters"]["interfaces"].list()?;
    assert!(interfaces.iter().any(|one| one == "org.guardd.Control"));
    let told = wire.call(
        r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.guardd.Control"}}"#,
    );
    let text = told["parameters"]["description"].text()?;
    assert!(text.contains("method Run("), "{text}");
    Ok(())
}

#[test]
fn status_is_one_answer_and_says_what_the_kernel_says() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let mut wire = Wire::open(&daemon);
    // No parameters are as good as empty ones.
    let status = wire.call(r#"{"method":"org.guardd.Control.Status"}"#);
    assert_eq!(status["parameters"]["enforcing"], true);
    assert!(status.get("continues").is_none());
    let hooks = status["parameters"]["hooks"].list()?;
    assert!(hooks.iter().all(|hook| hook["attached"] == true));
    Ok(())
}

#[test]
fn streams_go_on_and_end() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let mut wire = Wire::open(&daemon);
    let first = wire.call(r#"{"method":"org.guardd.Control.Log","parameters":{},"more":true}"#);
    assert_eq!(first["parameters"]["kind"], "daemon-start");
    assert_eq!(first["continues"], true);
    let last = wire.answer().unwrap();
    assert!(last.get("continues").is_none(), "{last}");
    let pending = wire.call(r#"{"method":"org.guardd.Control.Pending","more":true}"#);
    assert_eq!(pending["continues"], true);
    assert_eq!(pending["parameters"]["requests"], serde_json::json!([]));
    Ok(())
}
