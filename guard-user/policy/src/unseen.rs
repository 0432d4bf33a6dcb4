//! Characters of other people's text that a terminal obeys, or that a reader cannot see.

/// Returns true if `c` moves the cursor, reorders the line, or shows nothing where something is.
#[must_use]
pub const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'            // C0, DEL, C1
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{70f}'      // soft hyphen, joiner, Arabic and Syriac marks
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' // Khmer vowels, Mongolian selectors and separator
        | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'  // spaces that are letters where a server reads them
        | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{2800}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' // zero width, marks, line ends, embeddings
        | '\u{2060}'..='\u{206f}' | '\u{feff}'              // invisible operators, isolates, byte order mark
        | '\u{fe00}'..='\u{fe0f}'                           // variation selectors
        | '\u{fff0}'..='\u{fffb}'                           // not assigned, interlinear annotation
        | '\u{13430}'..='\u{1345f}' | '\u{16fe4}'          // formats and blanks of hieroglyphs, Khitan filler
        | '\u{1bc9d}' | '\u{1bca0}'..='\u{1bca3}'          // shorthand's selector and formats
        | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'          // music's head that is none, and formats
        | '\u{e0000}'..='\u{e0fff}'                         // tags and variation selectors
    )
}

/// Returns the text with one visible character in the place of each unseen one. Tabs stay.
#[must_use]
pub fn blanked(text: &str) -> String {
    let shown = text.chars().map(|c| match c {
        '\t' => c,
        // Control pictures: U+2400 stands for U+0000.
        '\0'..='\x1f' => char::from_u32('\u{2400}' as u32 + c as u32).unwrap_or('\u{fffd}'),
        c if is_unseen(c) => '\u{fffd}',
        c => c,
    });
    shown.collect()
}
