//! Writes `sidecar-init.toml(5)`, in mdoc(7), from `docs/bundle.md`.

/// The longest line of text in the page.
const WIDTH: usize = 79;

/// The page, of the same date as `sidecar-init(8)`.
pub fn page(bundle: &str, example: &str, date: &str) -> String {
    let mut page = format!(
        ".\\\" Made from docs/bundle.md by `make generated`.\n.Dd {date}\n.Dt SIDECAR-INIT.TOML 5\n\
         .Os\n.Sh NAME\n.Nm sidecar-init.toml\n.Nd the services of a bundle, for\n\
         .Xr sidecar-init 8\n.Sh DESCRIPTION\n"
    );
    for block in blocks(bundle) {
        page += &block.mdoc(page.lines().last().is_some_and(begins));
    }
    page += ".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/sidecar-init/bundle.toml\n\
             The file that is read if none is named.\n.El\n.Sh EXAMPLES\n";
    page += &Block::Code(example).mdoc(true);
    page += ".Sh SEE ALSO\n.Xr sidecar-init 8\n";
    page
}

/// Whether what follows this line needs no break before it.
fn begins(line: &str) -> bool {
    line.starts_with(".Sh") || line.starts_with(".Ss")
}

enum Block<'a> {
    Section(&'a str),
    Subsection(&'a str),
    Paragraph(String),
    /// The titles of the columns, and the rows.
    Table(Vec<&'a str>, Vec<Vec<&'a str>>),
    Code(&'a str),
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(code) = rest.strip_prefix("```toml\n") {
            let (code, after) = code.split_once("```\n").unwrap();
            blocks.push(Block::Code(code));
            rest = after.trim_start_matches('\n');
            continue;
        }
        let (block, after) = rest.split_once("\n\n").unwrap_or((rest, ""));
        rest = after.trim_start_matches('\n');
        blocks.push(if let Some(title) = block.strip_prefix("## ") {
            Block::Section(title)
        } else if let Some(title) = block.strip_prefix("### ") {
            Block::Subsection(title)
        } else if block.starts_with('|') {
            let mut rows = block.lines().map(cells);
            let titles = rows.next().unwrap();
            Block::Table(titles, rows.skip(1).collect())
        } else if block.starts_with("# ") {
            continue;
        } else {
            let is_known = !block.starts_with(['-', '*', '>', '#']) && !block.contains("\n|");
            assert!(is_known, "this has no form in mdoc: {block}");
            Block::Paragraph(block.replace('\n', " "))
        });
    }
    blocks
}

/// The cells of a row of a table.
pub fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

impl Block<'_> {
    fn mdoc(&self, begins: bool) -> String {
        let before = if begins { "" } else { ".Pp\n" };
        match self {
            // Not a bracket that mdoc would take for punctuation.
            Block::Section(title) => format!(".Sh {}\n", title.replace(']', "]\\&")),
            Block::Subsection(title) => format!(".Ss {title}\n"),
            Block::Paragraph(text) => format!("{before}{}", prose(text)),
            Block::Code(code) => {
                let lines: Vec<String> = code.lines().map(|line| escaped(line) + "\n").collect();
                format!("{before}.Bd -literal -offset indent -compact\n{}.Ed\n", lines.concat())
            }
            Block::Table(titles, rows) => {
                let rows: Vec<String> = rows.iter().map(|row| item(titles, row)).collect();
                format!(".Bl -tag -width Ds\n{}.El\n", rows.concat())
            }
        }
    }
}

/// A row as an item: its first cell, and a sentence of the others.
fn item(titles: &[&str], row: &[&str]) -> String {
    let of = |title: &str| titles.iter().position(|other| *other == title).map(|at| row[at]);
    let mut sentence = of("type").unwrap_or_default().to_owned();
    match of("default") {
        Some("") | None => {}
        Some("required") => sentence += ", required",
        Some(default) => sentence += &format!("; default: {default}"),
    }
    if !sentence.is_empty() {
        sentence += ". ";
    }
    let meaning = without_links(of("meaning").unwrap_or_default());
    sentence += upper(&meaning).trim_end_matches('.');
    let tag: Vec<String> = row[0].split(", ").map(|name| escaped(name.trim_matches('`'))).collect();
    format!(".It Ic {}\n{}", tag.join(" , "), prose(&format!("{}.", upper(&sentence))))
}

/// With a first letter that begins a sentence; but a function keeps its name.
fn upper(text: &str) -> String {
    if text.split(' ').next().is_some_and(|word| word.contains('(')) {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Sentences, each of which begins a line, as mdoc wants it.
fn prose(text: &str) -> String {
    let text = inline(&without_links(text));
    let mut lines = String::new();
    let mut length = 0;
    let mut is_end = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if length > 0 && (is_end || length + 1 + word.len() > WIDTH) {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        if length == 0 && word.starts_with(['.', '\'']) {
            lines += "\\&";
        }
        lines += word;
        length += word.len();
        let bare = word.trim_end_matches(')').trim_end_matches("\\fR");
        is_end = bare.ends_with('.') && bare != "e.g." && bare != "i.e.";
    }
    lines + "\n"
}

/// Code in bold, everything else as it is.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => part.replace('\\', "\\e"),
        // A line may break within it only where it has a space.
        _ => {
            let words: Vec<String> =
                part.split(' ').map(|word| format!("\\fB{}\\fR", escaped(word))).collect();
            words.join(" ")
        }
    });
    parts.collect()
}

/// As it is, for those who copy it.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Links to other documents and headings as their words alone.
pub fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(end) = rest.find("](") {
        let start = rest[..end].rfind('[').unwrap();
        let after = end + rest[end..].find(')').unwrap() + 1;
        plain += &rest[..start];
        plain += &rest[start + 1..end];
        rest = &rest[after..];
    }
    plain + rest
}
