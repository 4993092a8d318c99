//! What a client wants changed: the lines that receive-pack gives its hook, githooks(5). Pure.

/// The most refs of one push; their ids go on one command line.
pub(crate) const MOST_UPDATES: usize = 1000;

/// One ref that is to be made, moved or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// What it names now; `None`: there is no such ref.
    pub(crate) old: Option<String>,
    /// What it is to name; `None`: it is to go.
    pub(crate) new: Option<String>,
    pub(crate) name: String,
}

impl Update {
    /// The upstream's ref has to be where the client saw it, git-push(1).
    pub(crate) fn lease(&self) -> String {
        format!("--force-with-lease={}:{}", self.name, self.old.as_deref().unwrap_or_default())
    }

    pub(crate) fn refspec(&self) -> String {
        format!("{}:{}", self.new.as_deref().unwrap_or_default(), self.name)
    }

    /// For the gate's log.
    pub(crate) fn describe(&self) -> String {
        let short = |id: &Option<String>| match id {
            Some(id) => id.get(..12).unwrap_or(id).to_owned(),
            None => "nothing".to_owned(),
        };
        format!("{} {}..{}", self.name, short(&self.old), short(&self.new))
    }
}

/// Reads the hook's input.
///
/// # Errors
/// If a line is not what githooks(5) says, for then nothing of it can be trusted.
pub(crate) fn updates(input: &[u8]) -> Result<Vec<Update>, String> {
    let text = std::str::from_utf8(input)
        .map_err(|_| "the name of a ref is not UTF-8; rename that branch or tag".to_owned())?;
    let updates: Vec<Update> = text.lines().map(update).collect::<Result<_, _>>()?;
    if updates.is_empty() {
        return Err("the hook was given no refs".to_owned());
    }
    if updates.len() > MOST_UPDATES {
        return Err(format!("more than {MOST_UPDATES} refs in one push; push them in parts"));
    }
    Ok(updates)
}

fn update(line: &str) -> Result<Update, String> {
    let mut words = line.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default();
    let (old, new, name) = (next(), next(), next());
    let is_bad = |letter: char| letter.is_control() || letter == ' ' || "~^:?*[\\".contains(letter);
    if !name.starts_with("refs/") || name.contains(is_bad) || !is_id(old) || !is_id(new) {
        return Err("the hook was given a line that it does not understand".to_owned());
    }
    let id = |text: &str| (!text.bytes().all(|byte| byte == b'0')).then(|| text.to_owned());
    Ok(Update { old: id(old), new: id(new), name: name.to_owned() })
}

/// Whether this is the full name of an object, in SHA-1 or SHA-256.
pub(crate) fn is_id(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    matches!(text.len(), 40 | 64) && text.bytes().all(is_hex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn made_moved_and_deleted() {
        let input =
            format!("{ZERO} {A} refs/heads/new\n{A} {B} refs/heads/x\n{B} {ZERO} refs/tags/é\n");
        let updates = updates(input.as_bytes()).unwrap();
        let asked: Vec<(String, String)> =
            updates.iter().map(|update| (update.lease(), update.refspec())).collect();
        let expected = [
            ("--force-with-lease=refs/heads/new:".to_owned(), format!("{A}:refs/heads/new")),
            (format!("--force-with-lease=refs/heads/x:{A}"), format!("{B}:refs/heads/x")),
            (format!("--force-with-lease=refs/tags/é:{B}"), ":refs/tags/é".to_owned()),
        ];
        assert_eq!(asked, expected);
        assert_eq!(updates[2].describe(), "refs/tags/é bbbbbbbbbbbb..nothing");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            String::new(),
            format!("{A} {B}"),
            format!("{A} {B} "),
            format!("{A} {B} HEAD"),
            format!("{A} short refs/heads/x"),
            format!("{A} {B} refs/heads/x:refs/heads/y"),
            format!("{A} {B} refs/heads/x y"),
            format!("--force {B} refs/heads/x"),
        ] {
            assert!(updates(format!("{line}\n").as_bytes()).is_err(), "{line}");
        }
        assert!(updates(b"").is_err());
        assert!(updates(b"\xff").is_err());
        let many = format!("{ZERO} {A} refs/heads/x\n").repeat(MOST_UPDATES + 1);
        assert!(updates(many.as_bytes()).unwrap_err().contains("in parts"));
    }

    proptest! {
        #[test]
        fn no_input_is_too_much_for_it(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = updates(&input);
        }

        #[test]
        fn no_ref_becomes_an_option(name in "refs/\\PC{0,30}") {
            if let Ok(updates) = updates(format!("{A} {B} {name}\n").as_bytes()) {
                prop_assert!(updates[0].refspec().starts_with(B));
                prop_assert_eq!(updates[0].refspec().matches(':').count(), 1);
            }
        }
    }
}
