//! The commands in a terminal: progress bar, colours, Ctrl-C.

use rexpect::session::{PtySession, spawn_command};

use crate::commands::thirds;

/// Milliseconds after which a silent program is considered hanging.
const PATIENCE: u64 = 120_000;

fn end(mut session: PtySession) -> (String, Option<i32>) {
    // rexpect converts each byte to a character.
    let bytes = session.exp_eof().unwrap().chars().map(|c| c as u8).collect();
    let text = String::from_utf8(bytes).unwrap();
    // `Exited(Pid(1), 0)`: rexpect does not name the type.
    let status = format!("{:?}", session.process().wait().unwrap());
    let code = status.strip_prefix("Exited").and_then(|status| status.rsplit(", ").next());
    (text, code.and_then(|code| code.trim_end_matches(')').parse().ok()))
}

#[test]
fn a_bar_is_drawn_and_ends_cleanly() {
    let place = thirds();
    let session = spawn_command(place.command("train thirds.toml --out run"), Some(PATIENCE)).unwrap();
    let (text, code) = end(session);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Epoch 1/3\r\n") && text.contains("━") && text.contains("s/step"), "{text:?}");
    assert!(text.contains('\u{1b}'), "the bar has colours: {text:?}");
    assert_eq!(text.matches("\u{1b}[?25l").count(), text.matches("\u{1b}[?25h").count(), "the cursor is back");
    assert!(text.ends_with("Model: run/model.keras\r\n"), "{text:?}");
    for epoch in 1..=3 {
        let bar = text.split(&format!("Epoch {epoch}/3\r\n")).nth(1).unwrap();
        let lines = bar.split("\r\n").next().unwrap();
        assert!(lines.contains("6/6 ") && lines.contains("val_loss: "), "epoch {epoch}: {lines:?}");
    }
}

#[test]
fn no_color_means_none() {
    let place = thirds();
    let mut command = place.command("train thirds.toml --out run");
    command.env("NO_COLOR", "1");
    let (text, code) = end(spawn_command(command, Some(PATIENCE)).unwrap());
    assert_eq!(code, Some(0), "{text}");
    let coloured = |text: &str| {
        text.split("\u{1b}[").skip(1).any(|code| {
            code.split(|c: char| c.is_ascii_alphabetic())
                .next()
                .is_some_and(|numbers| code[numbers.len()..].starts_with('m'))
        })
    };
    assert!(text.contains("━") && !coloured(&text), "{text:?}");
    let mut command = place.command("evaluate none.keras");
    command.env("NO_COLOR", "1");
    let (text, code) = end(spawn_command(command, Some(PATIENCE)).unwrap());
    assert_eq!(code, Some(1));
    assert!(text.starts_with("error: ") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn an_interrupted_training_saves_its_model() {
    let place = thirds();
    let command = place.command("train thirds.toml --out run --epochs 10000000");
    let mut session = spawn_command(command, Some(PATIENCE)).unwrap();
    session.exp_string("Epoch 3/").unwrap();
    session.send_control('c').unwrap();
    let (text, code) = end(session);
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("interrupted; the current model is saved in run/model.keras"), "{text}");
    assert!(text.contains("to resume: brasa train --resume --out run\r\n"), "{text}");
    let scores = place.json("evaluate run/model.keras --data xy.npz --json");
    assert_eq!(scores["samples"], 120);

    // One more epoch than completed, resumed.
    let rows = || place.read("run/history.csv").lines().count() - 1;
    let epochs = rows() + 1;
    let report = place.json(&format!("train --resume --out run --epochs {epochs} --accept-changes --json"));
    assert_eq!((report["epochs"].as_u64(), rows()), (Some(epochs as u64), epochs));
    let whole = place.json(&format!("train thirds.toml --out whole --epochs {epochs} --json"));
    assert_eq!(report["history"], whole["history"]);
}
