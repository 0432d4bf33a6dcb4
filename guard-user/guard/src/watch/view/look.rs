//! Colours, where there are any. Nothing is said by a colour alone.

use ratatui::style::{Color, Modifier, Style};

use crate::watch::model::Tone;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// Whether there are colours.
    pub(crate) colour: bool,
}

impl Palette {
    /// How a tone looks.
    pub(crate) fn of(self, tone: Tone) -> Style {
        let style = Style::new();
        let coloured = |colour| if self.colour { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Strong => style.add_modifier(Modifier::BOLD),
            Tone::Dim => style.add_modifier(Modifier::DIM),
            Tone::Good => coloured(Color::Green),
            Tone::Warn => coloured(Color::Yellow),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// The line that keys are for.
    pub(crate) fn under_cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The heading of a list; `in_use`: keys are for it.
    pub(crate) fn heading(self, in_use: bool) -> Style {
        let style = self.of(Tone::Strong);
        match in_use {
            true if self.colour => style.fg(Color::Cyan),
            true => style.add_modifier(Modifier::UNDERLINED),
            false => self.of(Tone::Dim),
        }
    }
}
