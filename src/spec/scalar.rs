//! What a plain scalar means: the core schema of YAML 1.2, chapter 10.3. `yes`, `no`, `on` and
//! `off` are texts there.

/// A scalar's meaning, where it is written without quotes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Core {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

pub fn core(text: &str) -> Core {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Core::Null,
        "true" | "True" | "TRUE" => return Core::Bool(true),
        "false" | "False" | "FALSE" => return Core::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Core::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Core::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Core::Float(f64::NAN),
        _ => {}
    }
    if let Some(number) = int(text) {
        return Core::Int(number);
    }
    if looks_like_float(text) {
        return text.parse().map_or(Core::Text, Core::Float);
    }
    Core::Text
}

fn int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(unsigned(octal)?, 8).ok();
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return i64::from_str_radix(unsigned(hexadecimal)?, 16).ok();
    }
    unsigned(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

fn unsigned(digits: &str) -> Option<&str> {
    (!digits.is_empty() && !digits.starts_with(['+', '-'])).then_some(digits)
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn looks_like_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_2_says() {
        for text in
            ["yes", "no", "on", "off", "y", "1h", "1_000", "0o9", "-", ".", "e5", "1e", "0x", "12:30", "+-1"]
        {
            assert_eq!(core(text), Core::Text, "{text}");
        }
        for (text, number) in
            [("755", 755), ("0755", 755), ("0o755", 493), ("-3", -3), ("+3", 3), ("0xff", 255)]
        {
            assert_eq!(core(text), Core::Int(number), "{text}");
        }
        for (text, number) in
            [("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("99999999999999999999", 1e20)]
        {
            assert_eq!(core(text), Core::Float(number), "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(core(text), Core::Null);
        }
        assert_eq!((core("true"), core("False")), (Core::Bool(true), Core::Bool(false)));
    }
}
