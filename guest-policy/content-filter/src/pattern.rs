//! Secrets whose form takes more than a prefix to tell. A pattern is tried only near one of its keywords, and group 1 is
//! what is masked. Patterns know ASCII only: what they name is ASCII, and they stay small.

use regex::bytes::Regex;

use crate::{assignment, looks};

/// How far before a keyword a match may begin, and how far after it may end.
const BEFORE_BYTES: usize = 128;
const AFTER_BYTES: usize = 1_024;

/// One form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    /// Kind, the tail of the code `secret.KIND`.
    pub(crate) kind: &'static str,
    /// At least one of these, in lower case, must be in the text.
    pub(crate) keywords: &'static [&'static str],
    pattern: &'static str,
    check: Check,
    after: usize,
    part: Part,
}

/// What of a match is the secret. Telling a group apart costs as much again as finding the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Group 1.
    Group,
}

/// What a match must pass besides its pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// It must not be a placeholder.
    NoPlaceholder,
    /// It must look random, as keys do.
    Random,
    /// As a password, which people choose.
    Password,
}

const fn near(kind: &'static str, keywords: &'static [&'static str], pattern: &'static str, check: Check) -> Pattern {
    Pattern { kind, keywords, pattern, check, after: AFTER_BYTES, part: Part::Group }
}

const fn whole(kind: &'static str, keywords: &'static [&'static str], pattern: &'static str, check: Check) -> Pattern {
    Pattern { part: Part::Whole, ..near(kind, keywords, pattern, check) }
}

use Check::{NoPlaceholder, Password, Random};

/// Every pattern; the more special ones first.
pub(crate) const PATTERNS: &[Pattern] = &[
    Pattern {
        after: 16 << 10,
        ..whole(
            "private-key",
            &["private key"],
            r"(?s-u)(-----BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:.{16,12000}?-----END[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|(?:\\[nr]|[A-Za-z0-9+/=\s]){24,12000}))",
            NoPlaceholder,
        )
    },
    whole(
        "slack-token",
        &["xox", "xapp-", "xwfp-"],
        r"(?i-u)\b((?:xox[a-z](?:\.xox[a-z])?(?:-\d{1,2})?-\d{10,13}(?:-\d{10,13}){0,3}-[A-Za-z0-9]{6,}|xox[ar]-(?:\d-)?[A-Za-z0-9]{16,48}|xoxe(?:\.xox[bp])?-\d-[A-Za-z0-9]{100,}|xapp-\d-[A-Z0-9]{8,}-\d{8,}-[a-f0-9]{20,}|xwfp-[A-Za-z0-9\-]{20,}))",
        NoPlaceholder,
    ),
    whole(
        "webhook",
        &["hooks.slack.com", "/api/webhooks", "office.com/webhook"],
        r"(?-u)(https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]{20,}|(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d+/[A-Za-z0-9_\-]{40,}|[a-z0-9.\-]+office\.com/webhookb?2?/[A-Za-z0-9@/\-]{60,}))",
        NoPlaceholder,
    ),
    whole("jwt", &["eyj"], r"(?-u)\b(eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-/+]{4,})", NoPlaceholder),
    whole("telegram-token", &[":aa"], r"(?-u)\b(\d{5,16}:AA[A-Za-z0-9_\-]{32,33})\b", NoPlaceholder),
    whole("mailchimp-key", &["-us"], r"(?-u)\b([0-9a-f]{32}-us\d{1,2})\b", NoPlaceholder),
    whole("terraform-token", &["atlasv1"], r"(?-u)\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=\-]{60,})", NoPlaceholder),
    near(
        "azure-storage-key",
        &["accountkey", "sharedaccesskey"],
        r"(?i-u)(?:AccountKey|SharedAccessKey)\s{0,4}=\s{0,4}([A-Za-z0-9+/]{40,}={0,2})",
        NoPlaceholder,
    ),
    whole("azure-secret", &["8q~", "7q~"], r"(?-u)\b([A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.\-]{31,34})", Random),
    near("azure-sas", &["sig="], r"(?i-u)[?&]sig=([A-Za-z0-9%+/=]{40,})", NoPlaceholder),
    whole("azure-devops-token", &["azdo"], r"(?-u)\b([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b", NoPlaceholder),
    near(
        "aws-secret",
        &["aws", "secretaccesskey", "secret_access_key", "secret access key"],
        r#"(?i-u)(?:\baws.{0,24}(?:secret|key).{0,24}?|secret.?access.?key)["'=:\s>]{1,6}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        Random,
    ),
    near(
        "authorization",
        &["authorization", "x-api-key", "api-key", "bearer "],
        r#"(?i-u)\b(?:authorization["']?\s{0,4}[:=]\s{0,4}["']?(?:basic|bearer|token|apikey)\s{1,4}|(?:x-)?api-key["']?\s{0,4}[:=]\s{0,4}["']?|bearer\s{1,4})([A-Za-z0-9+/_.~=\-]{16,})"#,
        Random,
    ),
    near(
        "basic-auth",
        &["authorization"],
        r#"(?i-u)\bauthorization["']?\s{0,4}[:=]\s{0,4}["']?basic\s{1,4}([A-Za-z0-9+/]{8,}={0,2})"#,
        NoPlaceholder,
    ),
    near(
        "basic-auth",
        &["-u", "--user"],
        r#"(?-u)(?:\s-u\s{0,4}|\s--user[ =])["']?[A-Za-z0-9_.@\-]{1,64}:([^\s"'$]{6,120})"#,
        Password,
    ),
    near(
        "password-option",
        &["-p", "--password", "--passwd"],
        r#"(?-u)(?:\s--passw(?:or)?d[ =]|\bmysql\b[^\n|;]{0,80}\s-p|\bsshpass\s{1,4}-p\s{0,4})["']?([^\s"'$]{6,120})"#,
        Password,
    ),
    whole(
        "password-hash",
        &["$2a$", "$2b$", "$2y$", "$6$", "$5$", "$1$", "$argon2", "$y$"],
        r"(?-u)(\$(?:2[aby]\$\d\d\$[A-Za-z0-9./]{53}|[156y]\$[A-Za-z0-9./$=]{1,40}\$[A-Za-z0-9./]{22,90}|argon2id?\$[A-Za-z0-9=,$]{10,60}\$[A-Za-z0-9+/]{16,90}(?:\$[A-Za-z0-9+/]{16,90})?))",
        NoPlaceholder,
    ),
];

/// A pattern, compiled.
#[derive(Debug)]
pub(crate) struct Compiled(Regex);

impl Pattern {
    /// Compiles it, and runs it once: what it builds lazily is then part of the host's snapshot.
    pub(crate) fn compile(&self) -> Result<Compiled, regex::Error> {
        let regex = Regex::new(self.pattern)?;
        let sample = self.keywords.iter().fold(String::new(), |text, word| text + " x" + word + "=aB3:/-0 ");
        let _ = regex.captures_iter(sample.as_bytes()).count();
        Ok(Compiled(regex))
    }

    /// Where it might hold, given the places of its keywords in order: ranges without overlaps.
    pub(crate) fn window(&self, windows: &mut Vec<(usize, usize)>, start: usize, end: usize, length: usize) {
        let (from, to) = (start.saturating_sub(BEFORE_BYTES), end.saturating_add(self.after).min(length));
        match windows.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(to),
            Some(_) | None => windows.push((from, to)),
        }
    }

    /// Hands over every secret in a range.
    pub(crate) fn find(&self, compiled: &Compiled, text: &str, range: (usize, usize), take: &mut dyn FnMut(usize, usize)) {
        let bytes = &text.as_bytes()[range.0..range.1];
        let mut at = 0;
        while let Some(found) = compiled.0.find_at(bytes, at) {
            at = found.end().max(at + 1);
            let secret = match self.part {
                Part::Whole => Some(found),
                Part::Group => compiled.0.captures_at(bytes, found.start()).and_then(|groups| groups.get(1)),
            };
            let Some(secret) = secret else { continue };
            let (start, mut end) = (range.0 + secret.start(), range.0 + secret.end());
            // The range ends somewhere; a secret that reaches its end goes on as long as it looks like one.
            if end == range.1 {
                end += text.as_bytes()[end..].iter().take_while(|byte| looks::token(**byte)).count();
            }
            let Some(secret) = text.get(start..end) else { continue };
            let holds = match self.check {
                Check::NoPlaceholder => !looks::placeholder(secret),
                Check::Random => looks::random(secret),
                Check::Password => !looks::placeholder(secret) && !looks::reference(secret) && !assignment::ordinary(secret),
            };
            if holds {
                take(start, end);
            }
            if at > bytes.len() {
                return;
            }
        }
    }
}
