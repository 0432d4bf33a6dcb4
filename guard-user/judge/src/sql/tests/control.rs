use super::{Control, Effect, assert_asks, one, written};

fn control(text: &str) -> Option<Control> {
    one(text).control
}

#[test]
fn transactions_begin_and_end() {
    let begins = |read_write| Some(Control::Begin { read_write });
    let ends = |chain| Some(Control::End { chain });
    assert_eq!(control("BEGIN"), begins(false));
    assert_eq!(control("START TRANSACTION READ ONLY"), begins(false));
    assert_eq!(control("BEGIN READ WRITE"), begins(true));
    assert_eq!(control("COMMIT"), ends(false));
    assert_eq!(control("ABORT"), ends(false));
    assert_eq!(control("END AND CHAIN"), ends(true));
    assert_eq!(control("ROLLBACK AND CHAIN"), ends(true));
    assert_eq!(control("PREPARE TRANSACTION 'x'"), ends(false));
    assert_eq!(control("SAVEPOINT a"), None);
    assert_eq!(control("ROLLBACK TO a"), None);
    assert_eq!(control("SELECT 1"), None);
}

#[test]
fn a_prepared_write_happens_when_it_is_executed() {
    let statement = one("PREPARE p AS DELETE FROM users");
    assert_eq!(statement.effect, Effect::Reads);
    let Some(Control::Prepare { name, write }) = statement.control else {
        panic!("no PREPARE");
    };
    assert_eq!(name, "p");
    assert_eq!(write, Some(written("DELETE FROM users")));
    let reads = Some(Control::Prepare {
        name: "P".to_owned(),
        write: None,
    });
    assert_eq!(control("PREPARE \"P\" (int) AS SELECT $1"), reads);
}

#[test]
fn names_are_executed_and_forgotten() {
    let executes = Some(Control::Execute {
        name: "p".to_owned(),
    });
    assert_eq!(control("EXECUTE p(1)"), executes);
    assert_eq!(control("EXPLAIN ANALYZE EXECUTE p(1)"), executes);
    assert_eq!(control("EXECUTE p(nextval('s'))"), executes);
    assert_eq!(control("EXPLAIN EXECUTE p(1)"), executes);
    assert_asks("EXPLAIN ANALYZE EXECUTE p(nextval('s'))");
    let forgets = |name: Option<&str>| {
        let name = name.map(str::to_owned);
        Some(Control::Deallocate { name })
    };
    assert_eq!(control("DEALLOCATE p"), forgets(Some("p")));
    assert_eq!(control("DEALLOCATE ALL"), forgets(None));
    assert_eq!(control("DEALLOCATE \"all\""), forgets(Some("all")));
    assert_eq!(control("DISCARD ALL"), forgets(None));
    assert_eq!(control("DISCARD PLANS"), None);
}
