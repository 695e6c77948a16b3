use super::*;

const NETWORK: &[u8] = b"any bytes";

/// An entry for [`NETWORK`], as `kind`, with `rest` after it.
fn entry(kind: &str, rest: &str) -> String {
    let sha256 = sha256_hex(NETWORK);
    format!(
        "[[model]]\nname = \"one\"\nkind = \"{kind}\"\nsource = \"here\"\nlicence = \"MIT\"\n\
         files.network = {{ path = \"one.onnx\", sha256 = \"{sha256}\" }}\n\
         input = {{ channels = \"rgb\", mean = 0.0, scale = 1.0 }}\n{rest}"
    )
}

fn folder_with(catalogue: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("models.toml"), catalogue).unwrap();
    fs::write(folder.path().join("one.onnx"), NETWORK).unwrap();
    folder
}

#[track_caller]
fn check_malformed(catalogue: &str, words: &[&str]) {
    let error = Catalogue::read(folder_with(catalogue).path()).unwrap_err();
    assert!(matches!(error, CatalogueError::Malformed { .. }), "{error}");
    let said = error.to_string();
    assert!(words.iter().all(|word| said.contains(word)), "no {words:?} in {said}");
}

#[test]
fn a_malformed_catalogue_is_refused_with_the_place() {
    check_malformed("", &["models.toml", "model"]);
    check_malformed(&entry("detector", "licence_of_code = \"MIT\"\n"), &["licence_of_code"]);
    check_malformed(&entry("oracle", ""), &["oracle", "line 3"]);
    check_malformed(
        &entry("embedder", "thresholds = { cosine = 0.5 }\n"),
        &["margin_cosine"],
    );
    let twice = entry("detector", "") + &entry("detector", "");
    let error = Catalogue::read(folder_with(&twice).path()).unwrap_err();
    assert!(
        error.to_string().contains("more than one detector named \"one\""),
        "{error}"
    );
}

#[test]
fn models_of_two_kinds_may_share_a_name() {
    let folder = folder_with(&(entry("detector", "") + &entry("embedder", "")));
    assert_eq!(Catalogue::read(folder.path()).unwrap().models().count(), 2);
}

#[test]
fn an_embedder_has_to_be_complete() {
    let rest = "alignment = \"a\"\nembedding_space = \"s\"\noutputs.embedding = { name = \"e\", values = 3 }\n";
    let complete = folder_with(&entry("embedder", rest));
    Catalogue::read(complete.path()).unwrap().embedder("one").unwrap();
    for lacking in ["alignment", "embedding_space", "outputs.embedding"] {
        let rest: String = rest
            .split_inclusive('\n')
            .filter(|line| !line.starts_with(lacking))
            .collect();
        let folder = folder_with(&entry("embedder", &rest));
        let error = Catalogue::read(folder.path()).unwrap().embedder("one").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the model one in the catalogue lacks {lacking}")
        );
    }
}

#[test]
fn an_output_of_an_impossible_length_is_refused() {
    for values in ["0", "9223372036854775807"] {
        let rest = format!(
            "alignment = \"a\"\nembedding_space = \"s\"\noutputs.embedding = {{ name = \"e\", values = {values} }}\n"
        );
        let folder = folder_with(&entry("embedder", &rest));
        let error = Catalogue::read(folder.path()).unwrap().embedder("one").unwrap_err();
        assert!(error.to_string().contains(values), "{error}");
    }
}

#[test]
fn a_file_is_read_only_with_the_right_sha256() {
    let folder = folder_with(&entry("detector", ""));
    let catalogue = Catalogue::read(folder.path()).unwrap();
    let file = &catalogue.detector("one").unwrap().files["network"];
    assert_eq!(catalogue.read_file(file).unwrap(), NETWORK);
    fs::write(folder.path().join("one.onnx"), b"Any bytes").unwrap();
    let error = catalogue.read_file(file).unwrap_err();
    assert!(matches!(error, CatalogueError::WrongFile { .. }), "{error}");
    fs::remove_file(folder.path().join("one.onnx")).unwrap();
    let error = catalogue.read_file(file).unwrap_err();
    assert!(matches!(error, CatalogueError::FileUnreadable { .. }), "{error}");
}

/// A complete embedder called `one` in `models.toml`, and beside it a folder `models.d` with these files.
fn with_models_d(files: &[(&str, &str)]) -> tempfile::TempDir {
    let rest = "alignment = \"a\"\nembedding_space = \"s\"\noutputs.embedding = { name = \"e\", values = 3 }\n";
    let folder = folder_with(&entry("embedder", rest));
    let models_d = folder.path().join("models.d");
    fs::create_dir(&models_d).unwrap();
    fs::write(models_d.join("one.onnx"), NETWORK).unwrap();
    for (name, text) in files {
        fs::write(models_d.join(name), text).unwrap();
    }
    folder
}

fn read_both(folder: &tempfile::TempDir) -> Result<Catalogue, CatalogueError> {
    Catalogue::read_with(folder.path(), &folder.path().join("models.d"))
}

/// What a head's entry has beside what every entry has.
const HEAD: &str = "embedder = \"one\"\nembedding_space = \"s\"\nreads = \"embedding\"\nclasses = [\"ann\", \"bea\"]\n\
                    rejection = { probability = 0.8, false_accept_rate = 0.01 }\n";

#[test]
fn models_d_is_read_beside_the_shipped_catalogue() {
    let folder = with_models_d(&[
        ("b.toml", &entry("head", HEAD)),
        ("a.toml", &entry("detector", "")),
        ("notes.txt", "not read"),
        (".hidden.toml", "not read"),
    ]);
    let catalogue = read_both(&folder).unwrap();
    let kinds: Vec<Kind> = catalogue.models().map(|model| model.kind).collect();
    assert_eq!(kinds, [Kind::Embedder, Kind::Detector, Kind::Head]);
    let head = catalogue.head("one").unwrap();
    assert_eq!((head.values, head.classes.len(), head.reads), (3, 2, Reads::Embedding));
    // Its file lies beside its own entry.
    assert_eq!(head.file.path, folder.path().join("models.d/one.onnx"));
    assert_eq!(catalogue.read_file(&head.file).unwrap(), NETWORK);
    let without = Catalogue::read_with(folder.path(), &folder.path().join("nowhere")).unwrap();
    assert_eq!(without.models().count(), 1);
}

#[test]
fn a_name_taken_twice_names_both_files_and_the_rest_stays_readable() {
    let twice = entry("head", HEAD) + &entry("embedder", "");
    let folder = with_models_d(&[
        ("a.toml", &twice),
        ("b.toml", "nonsense"),
        ("c.toml", &entry("head", HEAD)),
    ]);
    let said = read_both(&folder).unwrap_err().to_string();
    assert!(said.contains("more than one embedder named \"one\""), "{said}");
    assert!(
        said.contains("/models.toml") && said.contains("models.d/a.toml"),
        "{said}"
    );
    let (catalogue, problems) = Catalogue::gather(folder.path(), &folder.path().join("models.d"));
    assert_eq!(problems.len(), 2);
    assert!(problems[1].to_string().contains("b.toml"), "{}", problems[1]);
    assert!(
        catalogue.head("one").is_ok(),
        "of a.toml nothing is taken, c.toml is whole"
    );
}

#[test]
fn a_head_has_to_fit_its_embedder_and_itself() {
    for (wrong, right, words) in [
        (
            "embedder = \"two\"",
            "embedder = \"one\"",
            "no embedder named two; there are one",
        ),
        (
            "embedding_space = \"t\"",
            "embedding_space = \"s\"",
            "its embedder one is of \"s\"",
        ),
        ("reads = \"features\"", "reads = \"embedding\"", "does not give"),
        (
            "classes = [\"ann\", \"ann\"]",
            "classes = [\"ann\", \"bea\"]",
            "\"ann\" is there twice",
        ),
        ("classes = []", "classes = [\"ann\", \"bea\"]", "lacks classes"),
        ("", "embedder = \"one\"", "lacks embedder"),
        ("probability = 1.8", "probability = 0.8", "from 0 to 1"),
        ("probability = nan", "probability = 0.8", "from 0 to 1"),
    ] {
        let rest = HEAD.replace(right, wrong);
        assert_ne!(rest, HEAD, "{right}");
        let folder = with_models_d(&[("a.toml", &entry("head", &rest))]);
        let said = read_both(&folder).unwrap().head("one").unwrap_err().to_string();
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[test]
fn figures_of_any_name_are_kept() {
    let rest = "accuracy = { pairs = 1, tpir = 0.9, how = \"so\" }\n";
    let folder = folder_with(&entry("detector", rest));
    let catalogue = Catalogue::read(folder.path()).unwrap();
    let accuracy = catalogue.models().next().unwrap().accuracy.as_ref().unwrap();
    assert_eq!((accuracy.figures["pairs"], accuracy.figures["tpir"]), (1.0, 0.9));
}

#[test]
fn a_network_is_half_precise_only_where_it_was_measured_to_be_as_accurate() {
    let rest = "alignment = \"a\"\nembedding_space = \"s\"\noutputs.embedding = { name = \"e\", values = 3 }\n";
    for (said, expected) in [
        ("", false),
        (
            "half_precision = { as_accurate = false, measured = \"worse\" }\n",
            false,
        ),
        (
            "half_precision = { as_accurate = true, measured = \"pairs, on a card\" }\n",
            true,
        ),
    ] {
        let folder = folder_with(&entry("embedder", &format!("{rest}{said}")));
        let catalogue = Catalogue::read(folder.path()).unwrap();
        assert_eq!(catalogue.embedder("one").unwrap().half_precision, expected, "{said}");
    }
    check_malformed(
        &entry("embedder", "half_precision = { as_accurate = true }\n"),
        &["measured"],
    );
    // None of the shipped ones was measured on a card.
    let shipped = Catalogue::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx")).unwrap();
    assert!(shipped.models().all(|model| !model.may_be_half()));
}
