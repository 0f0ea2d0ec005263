//! `brasa init`: a working recipe for given data.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use brasa::datasets::{ColumnProfile, Csv, ImageFolder, Source, TextFolder, is_tree};
use brasa::formats::atomic::write_atomically;
use brasa::recipe::Recipe;
use brasa::{Error, Result};
use clap::{Args, Subcommand, ValueHint};

use super::help::examples;
use super::train::BUILT_IN;
use super::{output, path_text};

/// Write a recipe for images, for a table, for texts, or for MNIST, to train with and to change.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa init images photos"
    "brasa init table people.csv --target survived"
    "brasa init mnist --output digits.toml"
))]
pub struct Init {
    #[command(subcommand)]
    what: InitKind,
}

#[derive(Debug, Subcommand)]
enum InitKind {
    /// For a folder with a folder of images for each class, or with folders train, val and test of such folders.
    Images(Images),
    /// For a table: what its columns hold is looked at.
    Table(Table),
    /// For texts: a folder with a folder of .txt files for each class (or folders train, val and test of such folders), or
    /// a table with a column of texts.
    Text(Text),
    /// For the handwritten digits: a convolutional network.
    #[command(after_help = examples!("brasa init mnist --output digits.toml"))]
    Mnist(Written),
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa init images photos --size 64"))]
struct Images {
    /// The folder.
    #[arg(value_hint = ValueHint::DirPath)]
    path: PathBuf,

    /// Side of the images as the model sees them, in pixels (default: by the images, at most 96).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: Option<u32>,

    #[command(flatten)]
    written: Written,
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa init table people.csv --target survived"))]
struct Table {
    /// The table (.csv, .tsv, .parquet).
    #[arg(value_hint = ValueHint::FilePath)]
    path: PathBuf,

    /// The column of the targets (default: the last).
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,

    #[command(flatten)]
    written: Written,
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa init text reviews.csv"))]
struct Text {
    /// The folder, or the table (.csv, .tsv, .parquet).
    path: PathBuf,

    /// Of a table: the column of the texts (default: the one with the longest).
    #[arg(long, value_name = "COLUMN")]
    text: Option<String>,

    /// Of a table: the column of the targets (default: the last that is not that of the texts).
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,

    #[command(flatten)]
    written: Written,
}

#[derive(Args, Debug)]
struct Written {
    /// The recipe to write (default: images.toml, table.toml, text.toml or mnist.toml).
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Write over a recipe that is there.
    #[arg(long)]
    force: bool,
}

impl Init {
    pub fn run(self) -> Result<()> {
        match self.what {
            InitKind::Images(images) => images.written.write("images.toml", &images.recipe()?),
            InitKind::Table(table) => table.written.write("table.toml", &table.recipe()?),
            InitKind::Text(text) => text.written.write("text.toml", &text.recipe()?),
            InitKind::Mnist(written) => written.write("mnist.toml", BUILT_IN.1),
        }
    }
}

impl Written {
    fn write(&self, default: &str, text: &str) -> Result<()> {
        let path = self.output.clone().unwrap_or_else(|| default.into());
        // The output must parse as a recipe.
        Recipe::parse(path.display().to_string(), text)?;
        if path.exists() && !self.force {
            let received = format!("`{}`, which is there", output::shown(&path));
            return Err(Error::argument("--output", "a new file (or --force)", received));
        }
        write_atomically(&path, |file| file.write_all(text.as_bytes()).map_err(Error::io("write", &path)))?;
        let shown = output::shown(&path);
        output::line(format!("{shown}\nNext: brasa check {shown}, then brasa train {shown}"))
    }
}

/// A string in TOML's syntax.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Images {
    fn recipe(&self) -> Result<String> {
        let tree = is_tree(&self.path)?;
        let train = match &tree {
            Some([Some(train), ..]) => train.clone(),
            Some(_) => {
                let expected = format!("a folder `train` in `{}`", self.path.display());
                return Err(Error::data("images to train on", expected, "none"));
            }
            None => self.path.clone(),
        };
        let folder = ImageFolder::open(&train, (8, 8, 3))?;
        let (sides, grey) = looks(&folder);
        let side = self.size.unwrap_or_else(|| [32, 64, 96].into_iter().find(|side| *side >= sides).unwrap_or(96));
        let channels = if grey { 1 } else { 3 };
        let classes = folder.class_names().len();
        let has_validation = matches!(&tree, Some([_, Some(_), _]));
        let split = if has_validation { "" } else { "validation_split = 0.2\n" };
        // Small data gets small batches, so that an epoch has several.
        let batch_size = match folder.len() {
            0..=300 => 8,
            301..=3000 => 32,
            _ => 64,
        };
        let path = quoted(path_text(&self.path)?);
        let mut text = format!(
            "# {count} images of {classes} classes: {names}.\n\
             # `brasa train` with this file trains; `brasa predict RUN IMAGE…` uses the trained model.\n\n\
             [data]\ndataset = \"image_folder\"\npath = {path}\npixels = \"0..1\"\n{split}",
            count = folder.len(),
            names = comment(&folder.class_names().join(", ")),
        );
        for (index, filters) in [16, 32, 64].into_iter().enumerate() {
            let shape =
                if index == 0 { format!("input_shape = [{side}, {side}, {channels}]\n") } else { String::new() };
            let _ = write!(
                text,
                "\n[[layers]]\nclass_name = \"Conv2D\"\nfilters = {filters}\nkernel_size = [3, 3]\npadding = \"same\"\n\
                 activation = \"relu\"\n{shape}\n[[layers]]\nclass_name = \"MaxPooling2D\"\npool_size = [2, 2]\n"
            );
        }
        let _ = write!(
            text,
            "\n[[layers]]\nclass_name = \"Flatten\"\n\n[[layers]]\nclass_name = \"Dropout\"\nrate = 0.3\n\n\
             [[layers]]\nclass_name = \"Dense\"\nunits = 64\nactivation = \"relu\"\n\n\
             [[layers]]\nclass_name = \"Dense\"\nunits = {classes}\nactivation = \"softmax\"\n\n\
             [compile]\noptimizer = {{ class_name = \"Adam\", learning_rate = 0.001 }}\n\
             loss = \"sparse_categorical_crossentropy\"\nmetrics = [\"accuracy\"]\n\n\
             [fit]\nepochs = 30\nbatch_size = {batch_size}\n{STOPPING}"
        );
        Ok(text)
    }
}

/// The end of each recipe: training stops when it no longer improves.
const STOPPING: &str = "\n[[callbacks]]\nclass_name = \"EarlyStopping\"\nmonitor = \"val_loss\"\npatience = 8\n\
                        restore_best_weights = true\n";

/// A text that fits in a comment.
fn comment(text: &str) -> String {
    let text = brasa::text::printable(text);
    if text.chars().count() > 80 { text.chars().take(80).chain(['…']).collect() } else { text }
}

/// The number of images examined.
const LOOKED_AT: usize = 30;

/// The median of the larger sides of some images, and whether all readable ones are grey.
fn looks(folder: &ImageFolder) -> (u32, bool) {
    let step = folder.images().len().div_ceil(LOOKED_AT).max(1);
    let (mut sides, mut grey) = (Vec::new(), true);
    for (path, _) in folder.images().iter().step_by(step) {
        let Ok((width, height, own_grey)) = brasa::datasets::image_size(path) else { continue };
        sides.push(width.max(height));
        grey &= own_grey;
    }
    sides.sort_unstable();
    (sides.get(sides.len() / 2).copied().unwrap_or(64), grey && !sides.is_empty())
}

/// The most categories of a column that is proposed as an input.
const MOST_CATEGORIES: usize = 30;

/// The most distinct whole numbers of a target of classes.
const MOST_CLASSES: usize = 20;

/// The use of a column.
#[derive(PartialEq)]
enum ColumnUse {
    Numbers,
    Categories,
    LeftOut(&'static str),
}

impl Table {
    fn recipe(&self) -> Result<String> {
        let csv = if self.target.is_some() { Csv::new().header(true) } else { Csv::new() };
        let columns = csv.profile(&self.path)?;
        let target = match &self.target {
            None => columns.len() - 1,
            Some(name) => {
                let found = columns.iter().position(|column| column.name == *name);
                found.ok_or_else(|| Error::unknown("column", name, columns.iter().map(|column| &column.name)))?
            }
        };
        let rows = columns[target].numbers + columns[target].texts + columns[target].gaps;
        let named = columns.iter().all(|column| !column.name.is_empty());
        let others = || columns.iter().enumerate().filter(|(index, _)| *index != target).map(|(_, column)| column);
        let mut left_out: Vec<(&ColumnProfile, &str)> = Vec::new();
        let mut gaps = Vec::new();
        for column in others() {
            match use_of(column, rows) {
                ColumnUse::LeftOut(why) => left_out.push((column, why)),
                kind if column.gaps > 0 => {
                    let rule = if kind == ColumnUse::Numbers { "mean" } else { "category" };
                    gaps.push(format!("{} = \"{rule}\"", quoted(&column.name)));
                }
                _ => {}
            }
        }
        if !named && (!left_out.is_empty() || !gaps.is_empty()) {
            let expected = "a first line that names the columns, as some cannot be inputs as they are";
            return Err(Error::data(format!("`{}`", self.path.display()), expected, "none"));
        }
        if left_out.len() + 1 == columns.len() {
            return Err(Error::data(format!("`{}`", self.path.display()), "a column that can be an input", "none"));
        }
        let goal = TargetKind::of(&columns[target])?;
        let mut text = format!("# {rows} rows; the target is {}.\n", goal.words(&columns[target]));
        for (column, why) in &left_out {
            let _ = writeln!(text, "# Left out: {}, {why}.", comment(&column.name));
        }
        let path = quoted(path_text(&self.path)?);
        let _ = write!(text, "\n[data]\ndataset = \"csv\"\npath = {path}\n");
        if named {
            let _ = write!(text, "header = true\ntarget = {}\n", quoted(&columns[target].name));
        }
        if !left_out.is_empty() {
            let names: Vec<String> = left_out.iter().map(|(column, _)| quoted(&column.name)).collect();
            let _ = writeln!(text, "exclude = [{}]", names.join(", "));
        }
        if !gaps.is_empty() {
            let _ = writeln!(text, "missing = {{ {} }}", gaps.join(", "));
        }
        let batch_size = if rows <= 2000 { 16 } else { 64 };
        let _ = write!(
            text,
            "# The rows are shuffled before the last fifth is held back.\nsplit_seed = 1\nvalidation_split = 0.2\n\n\
             # Each input is normalized to mean 0 and variance 1 by the training data.\n\
             [[layers]]\nclass_name = \"Normalization\"\nadapt = true\n\n\
             [[layers]]\nclass_name = \"Dense\"\nunits = 64\nactivation = \"relu\"\n\n\
             [[layers]]\nclass_name = \"Dense\"\nunits = 32\nactivation = \"relu\"\n\n{}\
             [fit]\nepochs = 100\nbatch_size = {batch_size}\n{STOPPING}",
            goal.end()
        );
        Ok(text)
    }
}

impl Text {
    fn recipe(&self) -> Result<String> {
        let path = quoted(path_text(&self.path)?);
        if self.path.is_dir() {
            return self.of_folder(&path);
        }
        let columns = Csv::new().header(true).profile(&self.path)?;
        let index_of = |name: &String| {
            let found = columns.iter().position(|column| column.name == *name);
            found.ok_or_else(|| Error::unknown("column", name, columns.iter().map(|column| &column.name)))
        };
        let given = self.target.as_ref().map(index_of).transpose()?;
        let longest = || {
            let others = (0..columns.len()).filter(|index| Some(*index) != given && columns[*index].texts > 0);
            others.max_by(|a, b| length_of(&columns[*a]).total_cmp(&length_of(&columns[*b])))
        };
        let Some(text) = self.text.as_ref().map(index_of).transpose()?.or_else(longest) else {
            return Err(Error::data(format!("`{}`", self.path.display()), "a column of texts", "none"));
        };
        let Some(target) = given.or_else(|| (0..columns.len()).rev().find(|index| *index != text)) else {
            let expected = "a column of texts and one of targets";
            return Err(Error::data(format!("`{}`", self.path.display()), expected, "one column"));
        };
        if text == target {
            return Err(Error::argument("--target", "another column than that of the texts", &columns[target].name));
        }
        let (text, target) = (&columns[text], &columns[target]);
        let rows = text.numbers + text.texts + text.gaps;
        let goal = TargetKind::of(target)?;
        let header = format!(
            "# {rows} texts; the target is {}.\n\n[data]\ndataset = \"csv\"\npath = {path}\ntext = {}\ntarget = {}\n\
             # The rows are mixed before the last fifth of them is held back.\nsplit_seed = 1\nvalidation_split = 0.2\n",
            goal.words(target),
            quoted(&text.name),
            quoted(&target.name),
        );
        Ok(of_texts(&header, &goal, rows))
    }

    fn of_folder(&self, path: &str) -> Result<String> {
        if let Some(column) = self.text.as_ref().or(self.target.as_ref()) {
            return Err(Error::argument("--text, --target", "a table, which has columns", column));
        }
        let tree = is_tree(&self.path)?;
        let train = match &tree {
            Some([Some(train), ..]) => train.clone(),
            Some(_) => {
                let expected = format!("a folder `train` in `{}`", self.path.display());
                return Err(Error::data("texts to train on", expected, "none"));
            }
            None => self.path.clone(),
        };
        let folder = TextFolder::open(&train)?;
        let names = folder.class_names();
        if names.len() < 2 {
            return Err(Error::data(
                format!("`{}`", train.display()),
                "a folder for each of two classes or more",
                "one",
            ));
        }
        let split = if matches!(&tree, Some([_, Some(_), _])) { "" } else { "validation_split = 0.2\n" };
        let header = format!(
            "# {count} texts of {classes} classes: {names}.\n\n[data]\ndataset = \"text_folder\"\npath = {path}\n{split}",
            count = folder.len(),
            classes = names.len(),
            names = comment(&names.join(", ")),
        );
        Ok(of_texts(&header, &TargetKind::Classes(names.len()), folder.len()))
    }
}

/// How many characters the fields of a column have on average, of those that were kept.
fn length_of(column: &ColumnProfile) -> f64 {
    let count: usize = column.values.values().sum();
    let characters: usize = column.values.iter().map(|(text, times)| text.chars().count() * times).sum();
    characters as f64 / count.max(1) as f64
}

/// A recipe that learns from which words are in a text, and which pairs of them.
fn of_texts(header: &str, goal: &TargetKind, count: usize) -> String {
    let batch_size = if count <= 2000 { 8 } else { 32 };
    format!(
        "{header}\n# Each text becomes a row of 0 and 1: which words it has, and which pairs of neighbouring words.\n\
         [[layers]]\nclass_name = \"TextVectorization\"\nmax_tokens = 20000\nngrams = 2\noutput_mode = \"multi_hot\"\n\
         input_shape = [1]\nadapt = true\n\n\
         [[layers]]\nclass_name = \"Dense\"\nunits = 16\nactivation = \"relu\"\n\n\
         [[layers]]\nclass_name = \"Dropout\"\nrate = 0.5\n\n{}\
         [fit]\nepochs = 30\nbatch_size = {batch_size}\n{STOPPING}",
        goal.end()
    )
}

/// The use of an input column.
fn use_of(column: &ColumnProfile, rows: usize) -> ColumnUse {
    match () {
        () if column.numbers == 0 && column.texts == 0 => ColumnUse::LeftOut("which is empty"),
        () if column.unreadable => {
            ColumnUse::LeftOut("dates, times, lists, or numbers that are written in another way")
        }
        () if column.numbers > 0 && column.texts > 0 => ColumnUse::LeftOut("both numbers and texts"),
        () if column.different == 1 && column.gaps == 0 => ColumnUse::LeftOut("which is the same in all rows"),
        () if column.texts == 0 && column.counts_up => ColumnUse::LeftOut("the numbers of the rows"),
        () if column.texts == 0 => ColumnUse::Numbers,
        () if column.different > MOST_CATEGORIES || 2 * column.different > rows.max(4) => {
            ColumnUse::LeftOut("texts that hardly two rows share")
        }
        () => ColumnUse::Categories,
    }
}

/// The kind of target.
enum TargetKind {
    Classes(usize),
    Binary,
    Number { mean: f64, variance: f64 },
}

impl TargetKind {
    fn of(target: &ColumnProfile) -> Result<Self> {
        let whole_from_zero = target.whole && target.values.len() <= MOST_CLASSES && {
            let numbers = target.values.keys().filter_map(|value| value.parse::<f64>().ok());
            let mut numbers: Vec<f64> = numbers.collect();
            numbers.sort_by(f64::total_cmp);
            numbers.iter().enumerate().all(|(index, number)| *number == index as f64)
        };
        let refused = |expected: &str, received: String| {
            Err(Error::data(format!("the target `{}`", target.name), expected, received))
        };
        match () {
            () if target.gaps > 0 => refused("a value in each row", format!("{} gaps", target.gaps)),
            () if target.texts > 0 && target.numbers > 0 => {
                refused("numbers or texts", format!("{} numbers and {} texts", target.numbers, target.texts))
            }
            () if target.different < 2 => refused("different values", "one".to_owned()),
            () if target.unreadable => refused("numbers or classes", "dates, or numbers in another form".to_owned()),
            () if target.texts > 0 && target.different > 100 => {
                refused("up to 100 classes", format!("{} texts", target.different))
            }
            () if target.texts > 0 && target.different == 2 => Ok(Self::Binary),
            () if target.texts > 0 => Ok(Self::Classes(target.different)),
            () if whole_from_zero && target.different == 2 => Ok(Self::Binary),
            () if whole_from_zero => Ok(Self::Classes(target.different)),
            () => Ok(Self::Number { mean: target.moments.0, variance: target.moments.1 }),
        }
    }

    fn words(&self, target: &ColumnProfile) -> String {
        let name = if target.name.is_empty() { "the last column".to_owned() } else { comment(&target.name) };
        let classes = || comment(&target.values.keys().cloned().collect::<Vec<_>>().join(", "));
        match self {
            Self::Classes(_) | Self::Binary => format!("{name}, one of the classes {}", classes()),
            Self::Number { .. } => format!("{name}, a number"),
        }
    }

    /// The last layer and the `[compile]` section.
    fn end(&self) -> String {
        let compiled = |loss: &str, metrics: &str| {
            format!(
                "[compile]\noptimizer = {{ class_name = \"Adam\", learning_rate = 0.003 }}\nloss = \"{loss}\"\n\
                 metrics = [{metrics}]\n\n"
            )
        };
        let dense = |units: usize, activation: &str| {
            let activation =
                if activation.is_empty() { String::new() } else { format!("activation = \"{activation}\"\n") };
            format!("[[layers]]\nclass_name = \"Dense\"\nunits = {units}\n{activation}\n")
        };
        match self {
            Self::Binary => dense(1, "sigmoid") + &compiled("binary_crossentropy", "\"accuracy\", \"AUC\""),
            Self::Classes(count) => {
                dense(*count, "softmax") + &compiled("sparse_categorical_crossentropy", "\"accuracy\"")
            }
            Self::Number { mean, variance } => {
                let (mean, variance) = (*mean as f32, (*variance as f32).max(f32::MIN_POSITIVE));
                format!(
                    "{}# Back to the range of the target.\n[[layers]]\nclass_name = \"Normalization\"\n\
                     mean = {mean:?}\nvariance = {variance:?}\ninvert = true\n\n{}",
                    dense(1, ""),
                    compiled("mse", "\"mae\", \"RootMeanSquaredError\"")
                )
            }
        }
    }
}
