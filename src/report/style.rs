//! Colour, where there is any: the report reads the same without.

#[derive(Clone, Copy)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub fn changed(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub fn unknown(self, text: &str) -> String {
        self.wrap("36", text)
    }
}

/// What comes from hosts must not move the cursor or ring bells: control characters but the
/// newline and the tab are shown as `^X`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => {}
            c if c.is_control() => {
                let code = u32::from(c);
                match char::from_u32(code ^ 0x40) {
                    Some(letter) if code < 0x80 => shown.extend(['^', letter]),
                    _ => shown.push('\u{fffd}'),
                }
            }
            c => shown.push(c),
        }
    }
    shown
}
