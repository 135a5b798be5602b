//! The documents keep up with the tree: tests that the README names exist, links lead somewhere, the settings it lists are the server's.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below `dir` with this ending, without what was built.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if name != "target" && name != "starling-data" && !name.starts_with('.') {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// What stands between backquotes, fenced blocks left out.
fn quoted(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn tests_that_the_readme_names_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let promises = readme.split("## Promises").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut sources = Vec::new();
    files(&root(), ".rs", &mut sources);
    let code: Vec<String> = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let is_name = |text: &&str| text.contains('_') && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let metric = |text: &&str| text.starts_with("starling_");
    let names: Vec<_> = quoted(promises).into_iter().filter(|t| is_name(t) && !metric(t)).collect();
    assert!(names.len() > 20, "the table of promises is not read: {names:?}");
    for name in names {
        let signature = format!("fn {name}(");
        assert!(code.iter().any(|text| text.contains(&signature)), "the README names the test {name}; there is none");
    }
    for setting in quoted(promises).into_iter().flat_map(|t| t.split(", ")).filter(|t| t.starts_with("STARLING_")) {
        let text = format!("\"{setting}\"");
        assert!(code.iter().any(|code| code.contains(&text)), "the README names the setting {setting}; none reads it");
    }
}

#[test]
fn links_lead_to_files() {
    let mut pages = Vec::new();
    files(&root(), ".md", &mut pages);
    assert!(pages.len() >= 5, "{pages:?}");
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && !link.starts_with('#') {
                let target = page.parent().unwrap().join(link);
                assert!(target.exists(), "{} links to {link}, which is not there", page.display());
            }
        }
    }
}
