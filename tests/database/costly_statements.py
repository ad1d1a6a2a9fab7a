"""SQL that would cost a store its memory, its stack or its time: nesting of any depth, and bombs."""

DEEP = {
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "sums": lambda n: "SELECT " + "1+" * n + "1",
    "signs": lambda n: "SELECT " + "- " * n + "1",
    "negations": lambda n: "SELECT " + "NOT " * n + "true",
    "lists": lambda n: "SELECT " + "[" * n + "1" + "]" * n,
    "structs": lambda n: "SELECT " + "{a:" * n + "1" + "}" * n,
    "calls": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "cases": lambda n: "SELECT " + "CASE WHEN " * n + "true" + " THEN true END" * n,
    "subqueries": lambda n: "SELECT " + "(SELECT " * n + "1" + ")" * n,
    "tables": lambda n: "SELECT * FROM " + "(FROM " * n + "range(1)" + ")" * n,
    "named": lambda n: "WITH a AS (" * n + "SELECT 1" + ") FROM a" * n,
    "casts": lambda n: "SELECT 1" + "::INT" * n,
    "types": lambda n: "SELECT NULL::INT" + "[]" * n,
    "lambdas": lambda n: "SELECT " + "list_transform([1], x -> " * n + "1" + ")" * n,
    "JSON": lambda n: "SELECT ('" + "[" * n + "]" * n + "')::JSON",
    "regular expressions": lambda n: "SELECT regexp_matches('a', '" + "(" * n + "a" + ")*" * n + "')",
    "exists": lambda n: "SELECT " + "EXISTS(SELECT " * n + "1" + ")" * n,
}

BOMBS = {
    "rows without end": "SELECT * FROM range(10000000000)",
    "wide rows without end": "SELECT repeat('x', 10000) FROM range(10000000000)",
    "a row too large": "SELECT repeat('x', 100000000)",
    "a cross join": "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 8",
    "a cross join's groups": "SELECT count(*) FROM (SELECT DISTINCT i, j FROM range(100000) a(i), range(10000) b(j))",
    "a sort": "SELECT * FROM range(1000000000) t(i) ORDER BY hash(i)",
    "a list": "SELECT len(list(i)) FROM range(10000000000) t(i)",
    "a text": "SELECT len(string_agg(repeat('x', 1000))) FROM range(100000000)",
    "a recursion": "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "a recursion that doubles": (
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, range(2)) SELECT count(*) FROM r"
    ),
    "a window": "SELECT max(s) FROM (SELECT sum(i) OVER (ORDER BY hash(i)) AS s FROM range(1000000000) t(i))",
}
