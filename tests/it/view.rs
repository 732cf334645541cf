//! `surefoot view`: policies side by side as a page.

use crate::program::Workplace;

#[test]
fn policies_and_demonstrators_are_drawn_side_by_side() {
    let workplace = Workplace::new();
    workplace.train("run");
    let view = ["view", "run", "demonstrator:push", "--to", "push.html", "--episodes", "2", "--every", "10"];
    let told =
        workplace.succeed(&[&view[..], &["--json", "--pictures", "pictures", "--width", "64"]].concat());
    let told: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    let columns = told["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 2);
    assert!(columns.iter().all(|c| c["episodes"].as_array().unwrap().len() == 2));
    let page = std::fs::read_to_string(workplace.path("push.html")).unwrap();
    assert_eq!(page.matches("data:image/gif;base64,").count(), 4);
    assert!(!page.contains("http://") && !page.contains("https://"), "the page must need nothing else");
    let first = std::fs::read(workplace.path("pictures/0-0-00000.png")).unwrap();
    assert!(first.starts_with(b"\x89PNG"));

    let before = std::fs::read_dir(workplace.path(".")).unwrap().count();
    for (arguments, code, words) in [
        (&["view", "run", "--to", "push.html"][..], 1, &["push.html", "not overwritten"][..]),
        (&["view", "nowhere", "--to", "new.html"], 2, &["no policy.json"]),
        (
            &["view", "demonstrator:pusch", "--env", "push", "--to", "new.html"],
            2,
            &["did you mean `demonstrator:push`"],
        ),
        (&["view", "demonstrator:push", "--to", "new.html"], 2, &["--env"]),
        (&["view", "demonstrator:push", "--env", "reach", "--to", "new.html"], 1, &["tool_to_puck_x"]),
        (&["view", "run", "--episodes", "0", "--to", "new.html"], 2, &["--episodes"]),
    ] {
        workplace.fail(arguments, code, words);
    }
    assert_eq!(std::fs::read_dir(workplace.path(".")).unwrap().count(), before, "nothing is left behind");
}

#[test]
fn contacts_and_limits_are_shown_where_asked_for() {
    let workplace = Workplace::new();
    let view = |to: &str, show: &[&str]| {
        let (page, pictures) = (format!("{to}.html"), to.to_owned());
        let args = [
            "view",
            "demonstrator:door",
            "--env",
            "door",
            "--episodes",
            "1",
            "--every",
            "1000",
            "--width",
            "160",
        ];
        workplace.succeed(&[&args[..], &["--to", &page, "--pictures", &pictures], show].concat());
        ["0-0-00000.png", "0-0-00001.png"].map(|name| std::fs::read(workplace.path(to).join(name)).unwrap())
    };
    let plain = view("plain", &[]);
    let contacts = view("contacts", &["--show", "contacts"]);
    let both = view("both", &["--show", "contacts,limits"]);
    // At the end the arm holds the door open by the lever.
    assert!(plain[1] != contacts[1] && plain[0] != contacts[0], "at the start it says that there are none");
    assert!(view("limits", &["--show", "limits"])[0] == plain[0], "the arm starts far from its limits");
    assert_eq!(both.len(), 2);
    workplace.fail(
        &["view", "demonstrator:door", "--env", "door", "--to", "x.html", "--show", "forces"],
        2,
        &["forces", "contacts, limits"],
    );
}

#[test]
fn pictures_are_messages_that_other_viewers_play() {
    let workplace = Workplace::new();
    let args = ["view", "demonstrator:push", "demonstrator:random", "--env", "push", "--episodes", "2"];
    let more = ["--every", "20", "--width", "64", "--to", "page.html", "--mcap", "films.mcap"];
    workplace.succeed(&[&args[..], &more].concat());
    let (metadata, end) = surefoot_datasets::mcap::metadata(&workplace.path("films.mcap")).unwrap();
    assert!(matches!(end, surefoot_datasets::streams::LogEnd::Whole), "{end:?}");
    assert!(metadata.iter().any(|m| m.name == "surefoot.view"));
    // Nothing is written over.
    workplace.fail(&[&args[..], &["--to", "new.html", "--mcap", "films.mcap"]].concat(), 1, &["films.mcap"]);
    assert!(!workplace.path("new.html").exists());
}
