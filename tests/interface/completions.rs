//! Writes the completions of bash, zsh and fish from the tables of the command line.

use sidecar_init::bundle::LogMode;
use sidecar_init::signal::Signal;
use sidecar_init::words::Words;

use crate::command_line::{Entry, FORMS, Form, Subcommand};

/// What stands at the head of each.
const HEAD: &str = "Made from the tables of the command line by `make generated`.";

/// What is offered in place of a value or an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    Files,
    Services,
    Signals,
    /// The first half of a rule, `TERM=`.
    Rule,
    Modes,
    Subcommands,
    /// Nothing is known.
    Nothing,
}

/// What is offered for a value that the tables write like this.
fn offer(written: &str) -> Offer {
    match written {
        "FILE" | "PATH" => Offer::Files,
        "NAME" | "NAME..." => Offer::Services,
        "SIGNAL" => Offer::Signals,
        "SIGNAL=[SIGNAL]" => Offer::Rule,
        "MODE" => Offer::Modes,
        "[SUBCOMMAND]" => Offer::Subcommands,
        _ => Offer::Nothing,
    }
}

/// What is offered beside the options of a subcommand, once for each word or for all.
fn arguments(form: &Form) -> Vec<Offer> {
    let words = form.1.split(' ').skip(1).take_while(|word| !word.starts_with(['-', '>', '[']));
    let optional = form.1.split(' ').filter(|word| *word == "[SUBCOMMAND]");
    words.chain(optional).map(offer).filter(|offer| *offer != Offer::Nothing).collect()
}

/// The value of an option as the tables write it.
fn value(entry: &Entry) -> Option<&'static str> {
    let last = entry.1.split(", ").last()?;
    last.split_once(' ').map(|(_, value)| value)
}

/// What it does, in a few words.
fn summary(about: &str) -> &str {
    let ends = [" [", "; ", ". ", ", e.g.", ": "];
    let end = ends.iter().filter_map(|end| about.find(end)).min();
    about[..end.unwrap_or(about.len())].trim_end_matches('.')
}

fn signals() -> Vec<String> {
    let names = Signal::all().map(|signal| signal.to_string()[3..].to_owned());
    names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || "12".contains(c))).collect()
}

fn subcommands() -> Vec<&'static str> {
    FORMS[1..].iter().map(Form::word).collect()
}

/// The words of an offer that has a list of them.
fn listed(offer: Offer) -> String {
    match offer {
        Offer::Signals => signals().join(" "),
        Offer::Rule => {
            signals().iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(" ")
        }
        Offer::Modes => LogMode::all_words().join(" "),
        Offer::Subcommands => subcommands().join(" "),
        _ => String::new(),
    }
}

/// The names of the options with dashes.
fn names(entry: &Entry) -> Vec<String> {
    let short = entry.short().map(|letter| format!("-{letter}"));
    short.into_iter().chain([format!("--{}", entry.long())]).collect()
}

pub fn bash() -> String {
    let mut options = String::new();
    let mut values = String::new();
    let mut offered = String::new();
    for form in FORMS {
        let entries = form.0.entries();
        let all: Vec<String> = entries.iter().flat_map(|entry| names(entry)).collect();
        let word = form.word();
        options += &format!("        '{word}') options='{}' ;;\n", all.join(" "));
        for entry in entries.iter().filter(|entry| value(entry).is_some()) {
            let patterns: Vec<String> =
                names(entry).iter().map(|name| format!("'{word} {name}'")).collect();
            let offer = bash_offer(value(entry).map_or(Offer::Nothing, offer));
            values += &format!("        {}) {offer}return ;;\n", patterns.join(" | "));
        }
        let all: Vec<String> = arguments(form).into_iter().map(bash_offer).collect();
        if !all.is_empty() {
            offered += &format!("        '{word}') {};;\n", all.concat());
        }
    }
    format!(
        r#"# bash completion for sidecar-init. {HEAD}

_sidecar_init_words() {{
    local IFS=$' \t\n'
    # shellcheck disable=SC2207 # They are words without white space.
    COMPREPLY+=($(compgen -W "$1" -- "$word"))
}}

_sidecar_init_files() {{
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    # shellcheck disable=SC2207 # One a line.
    COMPREPLY+=($(compgen -f -- "$word"))
}}

# The services of the running init, if it answers within a second.
_sidecar_init_services() {{
    local name state names=''
    while read -r name state; do
        [[ $name == SERVICE ]] || names+=" $name"
    done < <("$program" status --timeout 1s "${{socket[@]}}" 2>/dev/null </dev/null)
    _sidecar_init_words "$names"
}}

_sidecar_init() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local program=${{COMP_WORDS[0]}} subcommand='' options='' index
    local socket=()
    COMPREPLY=()
    # bash makes three words of --option=value.
    if [[ $word == '=' ]]; then
        word=''
    elif [[ $previous == '=' ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            --)
                # What follows is another command's.
                if declare -F _command_offset >/dev/null; then
                    _command_offset $((index + 1))
                elif ((index + 1 == COMP_CWORD)); then
                    local IFS=$'\n'
                    # shellcheck disable=SC2207 # One a line.
                    COMPREPLY=($(compgen -c -- "$word"))
                else
                    _sidecar_init_files
                fi
                return
                ;;
            --socket) socket=(--socket "${{COMP_WORDS[index + 1]/#=/${{COMP_WORDS[index + 2]}}}}") ;;
        esac
    done
    if ((COMP_CWORD > 1)) && [[ ${{COMP_WORDS[1]}} != -* ]]; then
        subcommand=${{COMP_WORDS[1]}}
    fi
    case "$subcommand $previous" in
{values}    esac
    case $subcommand in
{options}    esac
    if [[ $word == -* ]]; then
        _sidecar_init_words "$options"
        return
    fi
    if ((COMP_CWORD == 1)); then
        _sidecar_init_words '{subcommands}'
        return
    fi
    case $subcommand in
{offered}    esac
}}

complete -F _sidecar_init sidecar-init
"#,
        subcommands = subcommands().join(" "),
    )
}

fn bash_offer(offer: Offer) -> String {
    match offer {
        Offer::Files => "_sidecar_init_files; ".to_owned(),
        Offer::Services => "_sidecar_init_services; ".to_owned(),
        Offer::Nothing => String::new(),
        Offer::Rule => {
            format!("compopt -o nospace 2>/dev/null; _sidecar_init_words '{}'; ", listed(offer))
        }
        _ => format!("_sidecar_init_words '{}'; ", listed(offer)),
    }
}

pub fn zsh() -> String {
    let mut cases = String::new();
    for form in FORMS {
        let mut arguments_of = String::new();
        for entry in form.0.entries() {
            arguments_of += &format!("                {} \\\n", zsh_option(entry));
        }
        if let Some(argument) = zsh_argument(form) {
            arguments_of += &format!("                {argument} \\\n");
        }
        let word = form.word();
        let pattern = if word.is_empty() { "*" } else { word };
        // The first form is for everything else.
        let case = format!(
            "        {pattern})\n            _arguments -s -S : \\\n{}\n            ;;\n",
            arguments_of.trim_end().trim_end_matches('\\').trim_end()
        );
        cases = if word.is_empty() { case } else { cases + &case };
    }
    // The case that fits everything comes last.
    let (rest, own) = cases.split_once("            ;;\n").unwrap_or_default();
    let described: Vec<String> = FORMS[1..]
        .iter()
        .map(|form| format!("        '{}:{}'", form.word(), quoted(summary(form.2))))
        .collect();
    format!(
        r#"#compdef sidecar-init
# zsh completion for sidecar-init. {HEAD}

# The services of the running init, if it answers within a second.
_sidecar-init_services() {{
    local -a lines names
    local at=${{words[(I)--socket]}}
    local -a socket
    (( at > 0 )) && socket=(--socket ${{words[at + 1]}})
    lines=(${{(f)"$($program status --timeout 1s $socket 2>/dev/null </dev/null)"}})
    names=(${{${{lines[2,-1]}}%% *}})
    compadd -a names
}}

_sidecar-init_rule() {{
    if compset -P '*='; then
        compadd {signals}
    else
        compadd -S '' {rules}
    fi
}}

_sidecar-init_subcommands() {{
    local -a subcommands=(
{described}
    )
    _describe subcommand subcommands
}}

_sidecar-init() {{
    local curcontext=$curcontext program=$words[1] subcommand
    integer at=${{words[(i)--]}}
    # What follows is another command's.
    if (( at < CURRENT )); then
        shift at words
        (( CURRENT -= at ))
        _normal
        return
    fi
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _sidecar-init_subcommands
        return
    fi
    if (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then
        subcommand=$words[2]
        shift words
        (( CURRENT-- ))
    fi
    case $subcommand in
{own}{rest}            ;;
    esac
}}

_sidecar-init "$@"
"#,
        signals = listed(Offer::Signals),
        rules = listed(Offer::Rule),
        described = described.join("\n"),
    )
}

/// For a text within single quotes of zsh and fish.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh_option(entry: &Entry) -> String {
    let about = quoted(summary(entry.3));
    let value = value(entry).map_or(String::new(), |value| {
        format!(":{}:{}", value.to_lowercase().replace(['[', ']'], ""), zsh_action(offer(value)))
    });
    // A long option may have its value after an equals sign.
    let long = format!("--{}{}", entry.long(), if value.is_empty() { "" } else { "=" });
    match entry.short() {
        Some(short) => {
            format!("'(-{short} --{})'{{-{short},{long}}}'[{about}]{value}'", entry.long())
        }
        None => {
            format!(
                "'{}{long}[{about}]{value}'",
                if entry.3.contains("may be repeated") { "*" } else { "" }
            )
        }
    }
}

fn zsh_argument(form: &Form) -> Option<String> {
    let place = if form.1.contains("NAME...") { "*" } else { "1" };
    Some(match arguments(form)[..] {
        [] => return None,
        [Offer::Subcommands] => format!("'{place}:subcommand:_sidecar-init_subcommands'"),
        [Offer::Services] => format!("'{place}:service:_sidecar-init_services'"),
        // It comes after any number of services.
        _ => {
            let signals = listed(Offer::Signals);
            format!("'{place}:service or signal:{{_sidecar-init_services; compadd {signals}}}'")
        }
    })
}

fn zsh_action(offer: Offer) -> String {
    match offer {
        Offer::Files => "_files".to_owned(),
        Offer::Services => "_sidecar-init_services".to_owned(),
        Offer::Rule => "_sidecar-init_rule".to_owned(),
        Offer::Subcommands => "_sidecar-init_subcommands".to_owned(),
        Offer::Nothing => " ".to_owned(),
        _ => format!("({})", listed(offer)),
    }
}

pub fn fish() -> String {
    let mut lines = String::new();
    for form in &FORMS[1..] {
        let about = quoted_for_fish(summary(form.2));
        let (is_first, word) = ("__sidecar_init_is_first", form.word());
        lines += &format!("complete -c sidecar-init -n {is_first} -a {word} -d '{about}'\n");
    }
    for form in FORMS {
        let word = if form.0 == Subcommand::Command { "--" } else { form.word() };
        for entry in form.0.entries() {
            let short = entry.short().map_or(String::new(), |letter| format!(" -s {letter}"));
            let (long, about) = (entry.long(), quoted_for_fish(summary(entry.3)));
            let value = value(entry).map_or(String::new(), |value| match offer(value) {
                Offer::Files => " -r -F".to_owned(),
                Offer::Nothing => " -x".to_owned(),
                offer => format!(" -x -a '{}'", listed(offer)),
            });
            lines += &format!(
                "complete -c sidecar-init -n '__sidecar_init_of {word}'{short} -l {long}{value} -d '{about}'\n"
            );
        }
        for offer in arguments(form) {
            let list = match offer {
                Offer::Services => "(__sidecar_init_services)".to_owned(),
                offer => listed(offer),
            };
            lines +=
                &format!("complete -c sidecar-init -n '__sidecar_init_of {word}' -a '{list}'\n");
        }
    }
    format!(
        r#"# fish completion for sidecar-init. {HEAD}

# Whether no word is there yet.
function __sidecar_init_is_first
    test (count (commandline -opc)) = 1
end

# Whether this subcommand is there, or none for `--`; nothing is ours behind a `--`.
function __sidecar_init_of
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    set -l subcommand --
    if set -q words[2]; and not string match -q -- '-*' $words[2]
        set subcommand $words[2]
    end
    test $subcommand = $argv[1]
end

function __sidecar_init_is_command
    contains -- -- (commandline -opc)
end

# What another command takes, which follows a `--`.
function __sidecar_init_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    set -l line (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
    complete -C (string join ' ' -- $line)
end

# The services of the running init, if it answers within a second.
function __sidecar_init_services
    set -l words (commandline -opc)
    set -l socket
    if set -l at (contains -i -- --socket $words)
        set socket --socket $words[(math $at + 1)]
    end
    $words[1] status --timeout 1s $socket 2>/dev/null </dev/null | string match -rv '^SERVICE ' | string replace -r ' .*' ''
end

complete -c sidecar-init -f
complete -c sidecar-init -n __sidecar_init_is_command -a '(__sidecar_init_command)'
{lines}"#
    )
}

fn quoted_for_fish(text: &str) -> String {
    text.replace('\'', "\\'")
}
