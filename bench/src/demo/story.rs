//! What the demo prints.

/// Numbers the steps.
#[derive(Default)]
pub(super) struct Story {
    steps: u32,
}

impl Story {
    /// Introduces the parties.
    pub(super) fn stage(&self, server: &str, port: u16, policy: &str) {
        self.tell(&format!(
            "Two machines, each a network namespace of its own: a developer's, where guardd runs,\n\
             and production behind it, with a photo server at {server}:{port}. demo.toml says:\n"
        ));
        self.output(policy);
    }

    /// Prints a note.
    pub(super) fn tell(&self, text: &str) {
        println!("\n{text}");
    }

    /// A new step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}. {title}\n", self.steps);
    }

    /// A command as somebody types it.
    pub(super) fn command(&self, who: &str, command: &str) {
        println!("    {who}$ {command}");
    }

    /// Prints a command's output.
    pub(super) fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("    {line}");
        }
    }

    /// Prints a check that passed.
    pub(super) fn fact(&self, text: &str) {
        println!("    => {text}");
    }

    /// Prints the end.
    pub(super) fn end(&self) {
        println!("\nAll {} steps went as told.", self.steps);
    }
}
