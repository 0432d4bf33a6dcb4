//! Reads a file of plays.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A scene, with what the head of its file gives all of them.
pub(crate) struct Play {
    pub(crate) name: String,
    /// Needs a guardd of its own.
    pub(crate) is_alone: bool,
    /// Settings of guardd.
    pub(crate) config: String,
    pub(crate) steps: Vec<Step>,
}

/// A line at the margin, with the indented lines below.
#[derive(Clone)]
pub(crate) struct Step {
    /// File and line, for messages.
    pub(crate) at: String,
    pub(crate) text: String,
    pub(crate) block: Vec<(String, String)>,
}

impl Step {
    /// Returns the indented lines as a text.
    pub(crate) fn below(&self) -> String {
        self.block
            .iter()
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    }
}

/// Reads all plays of a file.
pub(crate) fn plays(path: &Path) -> Result<Vec<Play>> {
    let text = fs::read_to_string(path)?;
    let (mut head, mut plays) = (Vec::<Step>::new(), Vec::<Play>::new());
    for (number, line) in text.lines().enumerate() {
        let at = format!("{}:{}", path.display(), number + 1);
        let steps = plays.last_mut().map_or(&mut head, |play| &mut play.steps);
        if line.trim().is_empty() || line.starts_with('#') {
        } else if let Some(below) = line.strip_prefix("  ") {
            let step = steps
                .last_mut()
                .with_context(|| format!("{at}: below nothing"))?;
            step.block.push((at, below.to_owned()));
        } else if let Some(name) = line.strip_prefix("play ") {
            let (name, is_alone) = match name.split_once(' ') {
                Some((name, _)) => (name, true),
                None => (name, false),
            };
            let config = head.iter().find(|step| step.text == "config");
            plays.push(Play {
                name: name.to_owned(),
                is_alone,
                config: config.map(Step::below).unwrap_or_default(),
                steps: head
                    .iter()
                    .filter(|step| step.text != "config")
                    .cloned()
                    .collect(),
            });
        } else {
            let (text, block) = (line.to_owned(), Vec::new());
            steps.push(Step { at, text, block });
        }
    }
    Ok(plays)
}
