//! The calls that are judged: what agents run all day, from a few bytes to a small script.

/// In turn.
pub(crate) const COMMANDS: [&str; 8] = [
    "git status --short",
    "cargo test -p server --lib accounts:: 2>&1 | tail -20",
    "rg -n 'fn judge' --type rust src | head -50 && sed -n 1,120p src/judge.rs",
    "python3 - <<'PY'\nimport json, pathlib\nfor path in pathlib.Path('reports').glob('*.json'):\n    data = json.loads(path.read_text())\n    print(path.name, len(data['rows']), sum(row['amount'] for row in data['rows']))\nPY",
    "rm -rf build dist && npm ci && npm run build",
    "git push --force origin main",
    "psql \"$DATABASE_URL\" -c \"select count(*) from orders where created_at > now() - interval '1 day'\"",
    "for file in $(git ls-files '*.py'); do black --check \"$file\" || echo \"$file\" >> unformatted.txt; done; wc -l unformatted.txt",
];
