//! The program under test, folders to run it in, and its output.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use brasa::Sequential;
use brasa::datasets::save_npy;
use brasa::recipe::Recipe;
use serde_json::Value as Json;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

/// The side length of the images, in pixels.
pub const SIDE: usize = 9;

/// An image whose third number `third` is light.
pub fn image(third: usize) -> Vec<f32> {
    (0..SIDE * SIDE).map(|index| if index / SIDE / 3 == third { 1.0 } else { 0.0 }).collect()
}

/// Writes that image.
pub fn png(place: &Place, name: &str, third: usize) {
    let values = image(third);
    let pixel = |x: u32, y: u32| image::Luma([(values[y as usize * SIDE + x as usize] * 255.0) as u8]);
    image::GrayImage::from_fn(SIDE as u32, SIDE as u32, pixel).save(place.at(name)).unwrap();
}

/// The program with its arguments, to be run in a folder, isolated from the tests' environment.
pub fn brasa(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasa"));
    command.args(arguments.split_whitespace()).current_dir(folder);
    for variable in ["BRASA_BACKEND", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    // Without it, desktop libraries print a message to standard error when devices are enumerated.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// A command's output and exit code.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Self { stdout, stderr, code: output.status.code() }
    }

    /// The same, for a command that must have succeeded.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The only message of a command that must have failed with this code.
    #[track_caller]
    pub fn failure(self, code: i32) -> String {
        let Self { stdout, stderr, code: own } = self;
        assert_eq!(own, Some(code), "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        assert!(stdout.is_empty(), "{stdout}");
        stderr
    }
}

/// A folder in which the program runs.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a text file, such as a recipe.
    pub fn with(name: &str, text: &str) -> Self {
        let place = Self::new();
        place.write(name, text);
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, contents).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// Writes arrays into an `.npz` archive, and each into its own file.
    pub fn npz(&self, name: &str, arrays: &[(&str, &[usize], &[f32])]) -> PathBuf {
        let path = self.at(name);
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, shape, values) in arrays {
            let member = format!("{name}.npy");
            let alone = self.at(&member.replace('/', "_"));
            save_npy(&alone, shape, values).unwrap();
            archive.start_file(&member, SimpleFileOptions::default()).unwrap();
            archive.write_all(&fs::read(&alone).unwrap()).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    pub fn command(&self, arguments: &str) -> Command {
        brasa(self.folder.path(), arguments)
    }

    pub fn run(&self, arguments: &str) -> Said {
        Said::by(&mut self.command(arguments))
    }

    /// Runs a command that succeeds.
    #[track_caller]
    pub fn done(&self, arguments: &str) -> Said {
        self.run(arguments).done()
    }

    /// Runs a command that succeeds, and reads its standard output as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &str) -> Json {
        self.done(arguments).json()
    }

    /// Runs a command that must fail, and returns its message.
    #[track_caller]
    pub fn fails(&self, arguments: &str) -> String {
        self.run(arguments).failure(1)
    }
}

/// A run's weights, bit for bit, and history.
pub fn result(run: &Path) -> (Vec<Vec<u32>>, String) {
    let weights = Sequential::load(run.join("model.keras")).unwrap().get_weights().unwrap();
    let bits = weights.iter().map(|weight| weight.iter().map(|number| number.to_bits()).collect()).collect();
    (bits, fs::read_to_string(run.join("history.csv")).unwrap())
}

/// All existing files of a run can be read.
pub fn check_files(run: &Path) {
    let there = |name: &str| Some(run.join(name)).filter(|path| path.exists());
    if let Some(path) = there("config.toml") {
        Recipe::read(path).unwrap();
    }
    if let Some(path) = there("model.keras") {
        Sequential::load(path).unwrap();
    }
    if let Some(path) = there("history.csv") {
        let text = fs::read_to_string(path).unwrap();
        let widths: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert!(text.ends_with('\n') && widths.iter().all(|width| *width == widths[0]), "{text}");
    }
    if let Some(path) = there("checkpoint/last.ckpt") {
        let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        for index in 0..archive.len() {
            std::io::copy(&mut archive.by_index(index).unwrap(), &mut std::io::sink()).unwrap();
        }
    }
}
