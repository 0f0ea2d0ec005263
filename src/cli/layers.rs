//! `brasa layers`: the built-in layers.

use brasa::layers::{Common, Entry, built_in};
use brasa::{Error, Result};
use clap::Args;
use serde_json::{Value as Json, json};

use super::help::examples;
use super::output;

/// Show the layers there are, or one of them: its arguments, and examples with their shapes and weights.
#[derive(Args, Debug)]
#[command(after_help = examples!("brasa layers" "brasa layers Conv2D"))]
pub struct Layers {
    /// A class of layers, such as Conv2D.
    name: Option<String>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Layers {
    pub fn run(self) -> Result<()> {
        match &self.name {
            None => self.all(),
            Some(name) => self.one(name),
        }
    }

    fn all(&self) -> Result<()> {
        let list = built_in();
        if self.json {
            let layer = |entry: &Entry| json!({ "class_name": entry.class_name, "arguments": entry.arguments });
            return output::json(&list.iter().map(layer).collect());
        }
        let width = list.iter().map(|entry| entry.class_name.len()).max().unwrap_or(0);
        let (columns, _) = output::terminal();
        for entry in list {
            let arguments = wrapped(&entry.arguments.join(", "), columns.max(width + 30) - width - 2);
            let arguments = arguments.join(&format!("\n{:width$}  ", ""));
            output::line(format!("{:width$}  {arguments}", entry.class_name).trim_end())?;
        }
        output::line(format!("{} layers; `brasa layers NAME` shows one", list.len()))
    }

    fn one(&self, name: &str) -> Result<()> {
        let names = || built_in().iter().map(|entry| entry.class_name);
        let entry = Entry::named(name).ok_or_else(|| Error::unknown("layer class", name, names()))?;
        let examples = entry.examples().into_iter().map(|example| (example.layer, vec![example.input]));
        let examples = examples.chain(entry.examples_of_several());
        let examples = examples.filter_map(|(layer, inputs)| {
            let outputs = match &inputs[..] {
                [input] => layer.output_shape(input).map(|shape| shape.to_string()),
                inputs => layer.output_shapes(inputs, &brasa::layers::Arguments::new()).map(|shapes| join(&shapes)),
            };
            let mut config = layer.full_config().ok()?;
            config.retain(|key, _| entry.arguments.contains(&key.as_str()));
            Some((config, join(&inputs), outputs.ok()?))
        });
        let examples: Vec<_> = examples.collect();
        if self.json {
            let example = |(config, input, output): &(brasa::config::Config, String, String)| json!({ "config": config, "input_shape": input, "output_shape": output });
            return output::json(&json!({
                "class_name": entry.class_name,
                "arguments": entry.arguments,
                "common_arguments": Common::ARGUMENTS,
                "examples": examples.iter().map(example).collect::<Vec<_>>(),
            }));
        }
        let (columns, _) = output::terminal();
        output::line(entry.class_name)?;
        let list = |title: &str, arguments: &[&str]| {
            let lines = wrapped(&arguments.join(", "), columns.max(40) - 2).join("\n  ");
            output::line(format!("{title}\n  {}", if lines.is_empty() { "none" } else { &lines }))
        };
        list("Arguments", entry.arguments)?;
        list("Arguments of every layer", Common::ARGUMENTS)?;
        for (config, input, out) in &examples {
            output::line(format!("\nExample: {input} → {out}\n[[layers]]\nclass_name = \"{}\"", entry.class_name))?;
            for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
                output::line(format!("{key} = {}", toml(value)))?;
            }
        }
        Ok(())
    }
}

fn join(shapes: &[brasa::Shape]) -> String {
    shapes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A value in a recipe's syntax.
fn toml(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let pairs = map.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// Wraps a text to lines of at most `width` characters.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_whole_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("seventeen", 3), ["seventeen"]);
    }

    #[test]
    fn values_are_written_in_toml_syntax() {
        let value = json!({ "class_name": "L2", "l2": 0.5, "seed": null, "list": [1, "a"] });
        assert_eq!(toml(&value), "{ class_name = \"L2\", l2 = 0.5, list = [1, \"a\"] }");
    }
}
