//! Files as the tools themselves write them: `== tool: what was typed | what is to be found`, then each file behind `-- `.
//!
//! Each tool ran without a network and with a home of its own. Of what it wrote, numbers that it drew at random are left out, and what else
//! no reader looks at in what an agent keeps of itself; a project is `/home/dev/shop`. What k9s writes is taken from its source
//! (`Context` and `SanitizeContextSubpath` in `internal/config/data`), for it writes nothing without a cluster that answers.

use super::labelled::scene_of;
use super::*;

const TOOLS: &str = include_str!("../tools.txt");

#[test]
fn what_a_tool_itself_writes_is_read() -> Tested {
    let mut count = 0;
    for tool in TOOLS.split("== ").skip(1) {
        let (head, files) = tool.split_once('\n').ok_or("no files")?;
        let (tool, expected) = head.split_once(" | ").ok_or("nothing expected")?;
        let found = scene_of(files)?.look()?;
        let lines = lines(&found);
        let is_found = match expected {
            "nothing" => lines.is_empty(),
            _ => lines.iter().any(|line| line.starts_with(expected)),
        };
        assert!(is_found, "{tool}: {expected}: {lines:?}");
        assert_eq!(passed_over(&found), Vec::<String>::new(), "{tool}");
        let told = format!("{found:?}").to_lowercase();
        assert!(!told.contains("hunter2"), "{tool}: {told}");
        count += 1;
    }
    assert_eq!(count, 26);
    Ok(())
}
