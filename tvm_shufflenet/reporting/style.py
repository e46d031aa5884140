"""The style sheet of a report: light and dark, from narrow to wide."""

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d1f24; --soft: #62666f; --rule: #dcdee3;
  --share: #8a8f99; --k0: #2a6fbb; --k1: #d9772b; --k2: #3b8f5a; --k3: #8b5fb5; --k4: #c2485c; --k5: #2b97a1;
  --k6: #a98a1d; --k7: #8a8f99; }
@media (prefers-color-scheme: dark) { :root { --page: #15171b; --card: #1e2126; --ink: #e6e7ea; --soft: #9da2ac;
  --rule: #343840; --share: #7b818c; --k0: #5b9bde; --k1: #e2914f; --k2: #5cb57e; --k3: #a985d1; --k4: #dd6d80;
  --k5: #4fb8c2; --k6: #c9aa42; --k7: #7b818c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.5rem; margin: 1.2em 0 .5em; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2em 0 .5em; border-bottom: 1px solid var(--rule); padding-bottom: 4px; }
p { margin: .4em 0; color: var(--soft); max-width: 90ch; overflow-wrap: anywhere; }
figure { margin: 0; }
.cards { display: flex; flex-wrap: wrap; gap: 8px; }
.cards div { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 8px 14px;
  flex: 1 1 120px; }
.cards b { display: block; font-size: 1.15rem; }
.cards span, .axis, th, .legend { color: var(--soft); font-size: .82rem; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; max-width: none; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 5px; }
.units { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; }
.unit { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; }
.unit text { font: 11px system-ui, sans-serif; fill: var(--ink); }
.unit .head { font-weight: 600; }
.unit .in { fill: #fff; }
@media (prefers-color-scheme: dark) { .unit .in { fill: #101216; } }
.unit .sign { text-anchor: middle; font-weight: 600; }
.way { fill: none; stroke: var(--soft); stroke-width: 1.3; }
.join { fill: var(--card); stroke: var(--soft); }
.shuffle { stroke: var(--soft); stroke-width: 1.2; fill: none; }
.timeline { width: 100%; height: 150px; display: block; background: var(--card); border: 1px solid var(--rule); }
.workspace { width: 100%; height: 320px; display: block; background: var(--card); border: 1px solid var(--rule); }
.curve { width: 100%; height: 70px; display: block; background: var(--card); border: 1px solid var(--rule); }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 10px; margin-top: 10px; }
.line { fill: none; stroke: var(--k0); stroke-width: 2; vector-effect: non-scaling-stroke; }
.room { opacity: .75; stroke: var(--card); stroke-width: 1; vector-effect: non-scaling-stroke; }
.axis { display: flex; justify-content: space-between; }
.bar { width: 100%; min-width: 60px; height: 12px; display: block; }
.share { fill: var(--share); }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; width: 100%; }
th, td { text-align: left; padding: 3px 10px 3px 0; border-bottom: 1px solid var(--rule); vertical-align: middle; }
td:has(svg) { width: 30%; }
footer { margin-top: 3em; border-top: 1px solid var(--rule); }
@media (max-width: 600px) { main { padding: 8px; } table { font-size: .78rem; } td, th { padding-right: 6px; }
  td:has(svg) { width: 22%; } .bar { min-width: 36px; }
  td:has(.share), th.wide { display: none; }
  .units { justify-content: center; } .timeline { height: 110px; }
  .workspace { height: 240px; } }
""" + "".join(f".k{n} {{ fill: var(--k{n}); background: var(--k{n}); }}\n" for n in range(8))
