//! Changes of a YAML text, line by line, in the form in which the sample file has it.

use serde_json::Value;

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

/// What stands behind a key and its colon, where a line without its indent is that key, however it is quoted.
fn behind<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let spelled = [
        name.to_owned(),
        Value::from(name).to_string(),
        format!("'{}'", name.replace('\'', "''")),
    ];
    let rest = spelled
        .iter()
        .find_map(|key| text.strip_prefix(key.as_str())?.strip_prefix(':'))?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// Whether a line is the key `name` at `indent`; `true` in it where it is commented out as the sample has it.
fn is_key(line: &str, indent: usize, name: &str) -> Option<bool> {
    if indent_of(line) != indent {
        return None;
    }
    let text = &line[indent..];
    let (text, commented) = match text.strip_prefix('#') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    behind(text, name).map(|_| commented)
}

/// A key as it is written: names as ours without quotes, all others (those of categories, say) in them.
fn spelled(name: &str) -> String {
    let plain = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    // What YAML takes for something else than text.
    let word = ["null", "true", "false", "yes", "no", "on", "off"].contains(&name);
    match plain && !word {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}

/// A map in braces, one key a line, so that one of them can be changed: the line at `at`, where that is what it holds.
fn unfold(lines: &mut Vec<String>, at: usize, indent: usize, name: &str) {
    let Some(rest) = lines[at].get(indent..).and_then(|text| behind(text, name)) else {
        return;
    };
    let (map, comment) = match rest.find(" #") {
        Some(hash) => (&rest[..hash], &rest[hash..]),
        None => (rest, ""),
    };
    let Ok(Value::Object(map)) = yaml_serde::from_str::<Value>(map) else {
        return;
    };
    let below = map
        .iter()
        .map(|(key, value)| format!("{:1$}{2}: {3}", "", indent + 2, spelled(key), flow(value)));
    let mut new = vec![format!("{:indent$}{}:{comment}", "", spelled(name))];
    new.extend(below);
    lines.splice(at..=at, new);
}

/// How deep the keys below the one at `at` stand.
fn depth_below(lines: &[String], at: usize, indent: usize) -> usize {
    let first = lines[at + 1..].iter().find(|line| !is_blank(line));
    match first.map(|line| indent_of(line)) {
        Some(deeper) if deeper > indent => deeper,
        _ => indent + 2,
    }
}

/// The lines below the one at `at`: up to the next that is not deeper. Comments before that one belong to it.
fn block_end(lines: &[String], at: usize, indent: usize) -> usize {
    let mut end = at + 1;
    for (index, line) in lines.iter().enumerate().skip(at + 1) {
        let item = line.trim_start().starts_with("- ") || line.trim() == "-";
        if is_blank(line) {
            continue;
        }
        // A list may stand at its key's own depth.
        if indent_of(line) > indent || (item && indent_of(line) == indent) {
            end = index + 1;
        } else {
            break;
        }
    }
    end
}

/// Where a commented section ends: at the next section, commented or not.
fn search_end(lines: &[String], at: usize, indent: usize) -> usize {
    for (index, line) in lines.iter().enumerate().skip(at + 1) {
        let text = line.trim_start();
        if text.is_empty() || indent_of(line) > indent {
            continue;
        }
        let key = text.strip_prefix('#').unwrap_or(text);
        let is_key = key.split_once(':').is_some_and(|(name, rest)| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && (rest.is_empty() || !text.starts_with('#'))
        });
        if is_key || !text.starts_with('#') {
            return index;
        }
    }
    lines.len()
}

/// A value in one line; JSON is YAML.
fn flow(value: &Value) -> String {
    value.to_string()
}

/// The text with a key set to a value, or without it. What the lines come to is for the caller to look at: a text in a form
/// that is not known here comes out wrong.
pub(super) fn set(text: &str, path: &[String], value: Option<&Value>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut from, mut to) = (0, lines.len());
    let mut above: Vec<(usize, usize, &str)> = Vec::new();
    let mut indent = 0;
    for (depth, name) in path.iter().enumerate() {
        let found =
            |commented: bool| (from..to).find(|at| is_key(&lines[*at], indent, name) == Some(commented));
        let (open, closed) = (found(false), found(true));
        if depth + 1 < path.len() {
            let at = match (open, closed) {
                (Some(at), _) => {
                    unfold(&mut lines, at, indent, name);
                    at
                }
                (None, _) if value.is_none() => return text.to_owned(),
                (None, Some(at)) => {
                    lines[at] = format!("{:indent$}{}:", "", spelled(name));
                    at
                }
                (None, None) => {
                    lines.insert(to, format!("{:indent$}{}:", "", spelled(name)));
                    to
                }
            };
            above.push((at, indent, name));
            from = at + 1;
            to = search_end(&lines, at, indent).max(block_end(&lines, at, indent));
            indent = depth_below(&lines, at, indent);
            continue;
        }
        let new = value.map(|value| match (depth, value) {
            // A list of sections is written as people write it.
            (0, Value::Array(items)) if !items.is_empty() => {
                format!(
                    "{name}:\n{}",
                    yaml_serde::to_string(value).unwrap_or_default().trim_end()
                )
            }
            _ => format!("{:indent$}{}: {}", "", spelled(name), flow(value)),
        });
        let new: Vec<String> = new
            .iter()
            .flat_map(|text| text.lines())
            .map(str::to_owned)
            .collect();
        match (open, closed) {
            (Some(at), _) => {
                let end = block_end(&lines, at, indent);
                lines.splice(at..end, new);
            }
            (None, Some(at)) if depth > 0 => {
                lines.splice(at..=at, new);
            }
            // The sample's own section stays as the example that it is; what is set stands before it.
            (None, Some(at)) => {
                lines.splice(at..at, new);
            }
            (None, None) => {
                // Behind what is there already, where it is a section: the comment at a file's top is about the file.
                let at = if depth == 0 { lines.len() } else { from };
                lines.splice(at..at, new);
            }
        }
    }
    // A section in which nothing is left is a comment again: alone it would be no section but nothing.
    for (at, indent, name) in above.into_iter().rev() {
        if value.is_none() && block_end(&lines, at, indent) == at + 1 {
            lines[at] = format!("{:indent$}#{name}:", "");
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}
