//! Secrets in the forms that programs give them.

use std::sync::{Arc, Mutex};

use super::*;

const SECRETS: &[&str] = &[
    "hunter2hunter2",
    "s3cr",
    "p@ss w\"rd'$`\\<&>%+/=é",
    "tab\tand\\backslash",
    "🔑 key of 🏠",
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\nkiG9w0BAQEFAASCBK\n-----END KEY-----",
    "\\\\\\\\\\\\\\\\",
    "''''\"\"\"\"",
];

fn redactor(secret: &str) -> Redactor {
    let mut redactor = Redactor::default();
    redactor.add("db", &Secret::from(secret));
    redactor
}

/// What `program` makes of a secret that it reads from its standard input.
fn made_by(program: &[&str], secret: &str) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_hidden(secret: &str, form: &str) {
    for text in [form.to_owned(), format!("before{form}behind"), format!("x: {form}\n")] {
        let hidden = redactor(secret).hide(&text).into_owned();
        let left = hidden.replace("«db»", "");
        assert!(hidden.contains("«db»"), "{secret:?} is seen in {text:?}");
        // Quotes and what stands around it may be left, and nothing of it.
        let mut around = text.clone();
        if let Some(at) = around.find(form) {
            around.replace_range(at..at + form.len(), "");
        }
        let more: usize = left.chars().filter(|c| c.is_alphanumeric()).count();
        let expected = around.chars().filter(|c| c.is_alphanumeric()).count();
        assert!(more <= expected + 2, "{left:?} is left of {text:?}");
    }
}

#[test]
fn a_secret_is_found_as_python_writes_it() {
    let forms = [
        "json.dumps(s)",
        "json.dumps(s, ensure_ascii=False)",
        "json.dumps(json.dumps(s))",
        "json.dumps(json.dumps(json.dumps(s)))",
        "repr(s)",
        "ascii(s)",
        "repr(s.encode())",
        "urllib.parse.quote(s)",
        "urllib.parse.quote(s, safe='')",
        "urllib.parse.quote_plus(s)",
        "urllib.parse.quote(urllib.parse.quote(s))",
        "re.sub('%..', lambda m: m.group().lower(), urllib.parse.quote(s, safe=''))",
        "''.join('%%%02x' % b for b in s.encode())",
        "html.escape(s)",
        "html.escape(html.escape(s))",
        "s.encode('ascii', 'xmlcharrefreplace').decode()",
        "shlex.quote(s)",
        "shlex.quote(shlex.quote(s))",
        "s.encode().hex()",
        "s.encode().hex().upper()",
        "s.encode().hex(':')",
        "base64.b64encode(s.encode()).decode()",
        "base64.b64encode(s.encode() + b'\\n').decode()",
        "base64.b64encode(b'u:' + s.encode() + b'tail').decode()",
        "base64.b64encode(b'u' + s.encode() + b'ta').decode()",
        "base64.urlsafe_b64encode(b'user:' + s.encode()).decode()",
        "base64.urlsafe_b64encode(s.encode()).decode().rstrip('=')",
        "urllib.parse.quote(base64.b64encode(s.encode()).decode(), safe='')",
        "json.dumps(base64.b64encode(s.encode()).decode()).replace('/', '\\\\/')",
        "base64.encodebytes(b'x' * 50 + s.encode() * 3).decode()",
        "s.replace('\\n', '\\r\\n')",
        "s.replace(\"'\", \"''\")",
        "s.replace('$', '$$')",
        "s.replace('%', '%%')",
    ];
    let wraps = ["base64", "hex", "encodebytes"];
    let all = forms.map(|form| format!("str({form})")).join(",");
    let code = format!(
        "import sys,json,urllib.parse,html,shlex,base64,re;s=sys.stdin.buffer.read().decode();sys.stdout.buffer.write('\\0'.join([{all}]).encode())"
    );
    for secret in SECRETS {
        let seen = made_by(&["python3", "-c", &code], secret);
        for (form, seen) in forms.iter().zip(seen.split('\0')) {
            if wraps.iter().any(|word| form.contains(word)) && form.contains("b'") {
                // What was encoded with it is left over, so only its presence can be looked at.
                assert!(redactor(secret).hide(seen).contains("«db»"), "{secret:?} in {form}: {seen}");
            } else {
                assert_hidden(secret, seen);
            }
        }
    }
}

#[test]
fn a_secret_is_found_as_other_programs_write_it() {
    for secret in SECRETS {
        let forms: &[&[&str]] = &[
            &["base64"],
            &["bash", "-c", "IFS= read -rd '' s; printf %q \"$s\""],
            &["bash", "-c", "IFS= read -rd '' s; printf %s \"${s@Q}\""],
            &["bash", "-c", "IFS= read -rd '' s; declare -p s"],
            &["od", "-An", "-v", "-tx1"],
            &["cat", "-"],
        ];
        for form in forms {
            let seen = made_by(form, secret);
            assert!(redactor(secret).hide(&seen).contains("«db»"), "{secret:?} by {form:?}: {seen}");
        }
        assert_hidden(secret, &format!("{secret:?}"));
        assert_hidden(secret, &serde_json::to_string(secret).unwrap());
        assert_hidden(secret, &crate::attribute::quote(secret));
    }
}

#[test]
fn each_line_of_a_secret_of_many_lines_is_hidden() {
    let secret = SECRETS[5];
    let redactor = redactor(secret);
    let logged: String = secret.lines().map(|line| format!("app[7]:   {line}\n")).collect();
    assert_eq!(redactor.hide(&logged), "app[7]:   «db»\n".repeat(4));
    let indented = secret.replace('\n', "\n    ");
    assert!(!redactor.hide(&indented).contains("MII"));
}

#[test]
fn the_longest_goes_first_and_what_overlaps_is_hidden_whole() {
    let mut redactor = Redactor::default();
    redactor.add("short", &Secret::from("abcdef"));
    redactor.add("long", &Secret::from("abcdefghij"));
    redactor.add("across", &Secret::from("hijklm"));
    assert_eq!(redactor.hide("x abcdefghij y abcdef"), "x «long» y «short»");
    assert_eq!(redactor.hide("abcdefghijklm"), "«long»");
    assert_eq!(redactor.hide("abcdefghijklmnhijklm."), "«long»n«across».");
}

#[test]
fn what_holds_no_secret_is_left_as_it_is() {
    let redactor = redactor("hunter2hunter2");
    for text in ["", "hunter2", "100% of \\ and & +", "«db»", "é…ü"] {
        assert!(matches!(redactor.hide(text), Cow::Borrowed(same) if same == text));
    }
}

#[test]
fn a_piece_of_a_secret_where_a_text_was_cut_is_hidden_too() {
    let redactor = redactor("hunter2hunter2");
    assert_eq!(redactor.hide("the body begins hunter2hun…"), "the body begins «db»…");
    assert_eq!(redactor.hide("first hunte\n… cut …\nr2hunter2 last"), "first «db»\n… cut …\n«db» last");
    let long = format!("er2hunter2 {} hunter2h", "log line\n".repeat(300));
    let hidden = redactor.hide(&long).into_owned();
    assert!(hidden.starts_with("«db» log") && hidden.ends_with(" «db»"), "{hidden}");
}

#[test]
fn a_panic_is_told_without_secrets_on_any_thread() {
    let secret = "panic-tells-7731-nothing";
    learn("panicked", &Secret::from(secret));
    let told = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&told);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let words = panic_words(info);
        match words.contains("panic-told-to-a-test") {
            true => into.lock().unwrap().push_str(&words),
            false => before(info),
        }
    }));
    let panics = move || panic!("panic-told-to-a-test: {:?} {secret}", secret.to_uppercase());
    std::thread::Builder::new().name("worker".into()).spawn(panics).unwrap().join().unwrap_err();
    let told = told.lock().unwrap();
    assert!(told.contains("thread 'worker' panicked at src/redact/tests.rs"), "{told}");
    assert!(told.contains("panic-told-to-a-test: \"«panicked»\" «panicked»"), "{told}");
}

#[test]
fn debug_shows_no_secret() {
    assert_eq!(format!("{:?}", Secret::from("hunter2hunter2")), "(secret)");
}
