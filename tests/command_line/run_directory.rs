//! Faults of a run's directory cause a clear error, and nothing is lost.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Place, check_files, result};

/// A recipe whose checkpoint and model take half a megabyte each.
const RECIPE: &str = r#"
[data]
dataset = "csv"
path = "xy.csv"

[[layers]]
class_name = "Dense"
units = 200
activation = "relu"
input_shape = [4]

[[layers]]
class_name = "Dense"
units = 200
activation = "relu"

[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"

[compile]
optimizer = "adam"
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 4
batch_size = 16
seed = 1
"#;

/// The time after which an expected event is considered missing.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with the recipe and its data.
fn place() -> Place {
    let place = Place::with("small.toml", RECIPE);
    let row = |row: usize| {
        let [a, b, c, d] = [7, 11, 13, 17].map(|factor| (row * factor % 19) as f64 / 19.0);
        format!("{a},{b},{c},{d},{}\n", row * 5 % 3)
    };
    place.write("xy.csv", format!("a,b,c,d,class\n{}", (0..64).map(row).collect::<String>()));
    place
}

/// A running process, killed if the test fails.
struct Started(Option<Child>);

impl Started {
    fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
        }
    }
}

fn start(place: &Place, arguments: &str) -> Started {
    Started(Some(place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a file exists.
fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < PATIENCE, "{path:?} does not come");
        sleep(Duration::from_millis(5));
    }
}

/// The number of completed epochs of a run.
fn epochs(place: &Place, run: &str) -> usize {
    place.read(&format!("{run}/history.csv")).lines().count() - 1
}

/// Runs a shell script in its own namespace, where it can mount; `false`, with a line in the tests' output, where the
/// system does not allow that.
fn in_namespace(place: &Place, script: &str) -> bool {
    let own = ["--user --map-root-user --mount", "--mount"];
    let may = |flags: &&str| {
        let mut trial = Command::new("unshare");
        trial.args(flags.split_whitespace()).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        trial.output().is_ok_and(|output| output.status.success())
    };
    let Some(flags) = own.iter().find(|flags| may(flags)) else {
        // Bypasses the output capture of passing tests.
        let told = format!("SKIPPED, as nothing can be mounted here: {script}\n");
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return false;
    };
    let mut command = Command::new("unshare");
    command.args(flags.split_whitespace()).args(["sh", "-e", "-c", script]).current_dir(place.at(""));
    let output = command.env("BRASA", env!("CARGO_BIN_EXE_brasa")).env_remove("BRASA_BACKEND").output().unwrap();
    assert!(output.status.success(), "{script}: {}", message(&output));
    true
}

/// The output of a failed command in such a script: one clear message.
fn failure(place: &Place, name: &str) -> String {
    let told = place.read(name);
    assert!(told.starts_with("error: ") && told.trim_end().lines().count() == 1, "{told}");
    told
}

/// No partially written files are left.
fn check_no_leftovers(run: &Path) {
    let entries = [run.to_owned(), run.join("checkpoint")].map(|folder| fs::read_dir(folder).unwrap());
    let files: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.iter().any(|path| path.to_str().unwrap().ends_with(".partial")), "{files:?}");
}

#[test]
fn a_full_disk_loses_no_existing_file() {
    let place = place();
    // There is room for one checkpoint, not for a second one.
    let mounted = in_namespace(
        &place,
        "mkdir disk && mount -t tmpfs -o size=900k none disk
         if $BRASA train small.toml --out disk/run --quiet 2>full; then exit 7; fi
         cp -r disk/run full-run
         mount -o remount,size=20m disk
         $BRASA train small.toml --resume --out disk/run --quiet
         cp -r disk/run whole-run",
    );
    if !mounted {
        return;
    }
    let told = failure(&place, "full");
    assert!(told.contains("`disk/run/checkpoint/last.ckpt`") && told.contains("No space left on device"), "{told}");
    check_files(&place.at("full-run"));
    check_no_leftovers(&place.at("full-run"));
    assert!(place.at("full-run/checkpoint/last.ckpt").exists(), "the one before is still there");
    place.done("train small.toml --out undisturbed --quiet");
    assert_eq!(result(&place.at("whole-run")), result(&place.at("undisturbed")));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let place = place();
    let mounted = in_namespace(
        &place,
        "mkdir disk && mount -t tmpfs -o size=20m none disk
         $BRASA train small.toml --out disk/run --epochs 2 --quiet
         mount -o remount,ro disk
         if $BRASA train small.toml --out disk/new --quiet 2>new; then exit 7; fi
         if $BRASA train --resume --out disk/run --epochs 4 --accept-changes --quiet 2>resumed; then exit 7; fi
         cp -r disk/run kept
         mount -o remount,rw disk
         $BRASA train --resume --out disk/run --epochs 4 --accept-changes --quiet
         cp -r disk/run whole-run",
    );
    if !mounted {
        return;
    }
    for (name, path) in [("new", "`disk/new`"), ("resumed", "`disk/run/")] {
        let told = failure(&place, name);
        assert!(told.contains(path) && told.contains("Read-only file system"), "{told}");
    }
    check_files(&place.at("kept"));
    assert_eq!(epochs(&place, "kept"), 2);
    place.done("train small.toml --out undisturbed --quiet");
    assert_eq!(result(&place.at("whole-run")), result(&place.at("undisturbed")));
}

#[test]
fn a_moved_directory_ends_the_run_and_can_be_resumed() {
    for freq in ["epoch", "1"] {
        let place = place();
        let endless =
            start(&place, &format!("train small.toml --out run --quiet --epochs 10000000 --checkpoint-freq {freq}"));
        wait_for(&place.at("run/history.csv"));
        fs::rename(place.at("run"), place.at("moved")).unwrap();
        let output = endless.output();
        let told = message(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("error: ") && told.contains("`run/") && told.contains("No such file"), "{told}");
        assert!(!place.at("run").exists(), "{freq}: nothing is written beside what was taken away");
        check_files(&place.at("moved"));

        let epochs = epochs(&place, "moved") + 1;
        place.done(&format!("train --resume --out moved --epochs {epochs} --accept-changes --quiet"));
        place.done(&format!("train small.toml --out undisturbed --epochs {epochs} --quiet"));
        assert_eq!(result(&place.at("moved")), result(&place.at("undisturbed")));
        check_no_leftovers(&place.at("moved"));
    }
}

#[test]
fn a_second_process_is_refused() {
    let place = place();
    let first = start(&place, "train small.toml --out run --quiet --epochs 10000000");
    wait_for(&place.at("run/checkpoint/last.ckpt"));
    for (arguments, words) in [
        ("train --resume --out run --quiet", "another process is working on this run"),
        ("train small.toml --resume --out run --epochs 5 --accept-changes", "another process is working on this run"),
        ("train small.toml --out run --quiet", "a directory that does not hold a run"),
    ] {
        let told = place.fails(arguments);
        assert!(told.contains(words), "{arguments}: {told}");
    }
    let interrupt = Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = first.output();
    assert_eq!(output.status.code(), Some(130), "{}", message(&output));
    check_files(&place.at("run"));
    check_no_leftovers(&place.at("run"));
    let epochs = epochs(&place, "run") + 1;
    place.done(&format!("train --resume --out run --epochs {epochs} --accept-changes --quiet"));
    place.done(&format!("train small.toml --out undisturbed --epochs {epochs} --quiet"));
    assert_eq!(result(&place.at("run")), result(&place.at("undisturbed")));
}

#[test]
fn one_of_several_concurrent_processes_gets_the_directory() {
    let place = place();
    place.done("train small.toml --out undisturbed --quiet");
    let begun: Vec<Started> = (0..4).map(|_| start(&place, "train small.toml --out run --quiet")).collect();
    let ended: Vec<Output> = begun.into_iter().map(Started::output).collect();
    let (done, failed): (Vec<_>, Vec<_>) = ended.iter().partition(|output| output.status.success());
    assert_eq!((done.len(), failed.len()), (1, 3), "{:?}", ended.iter().map(message).collect::<Vec<_>>());
    for output in failed {
        let told = message(output);
        let words = ["another process is working on this run", "a directory that does not hold a run"];
        assert!(words.iter().any(|words| told.contains(words)), "{told}");
    }
    assert_eq!(result(&place.at("run")), result(&place.at("undisturbed")));
}
