export const styleSheet = `
:root {
  color-scheme: light dark;
  --ink: light-dark(#1c2430, #e6e9ee); --soft: light-dark(#5b6675, #9aa5b4); --paper: light-dark(#f4f6f8, #14181e);
  --card: light-dark(#fff, #1d232b); --line: light-dark(#dde2e8, #323a45); --accent: light-dark(#1f5fbf, #7fb0ff);
  --on-accent: light-dark(#fff, #10151c);
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
a { color: var(--accent) }
header { background: var(--card); border-bottom: 1px solid var(--line) }
header nav { max-width: 52rem; margin: 0 auto; padding: .75rem 1.25rem; display: flex; flex-wrap: wrap;
  gap: .5rem 1rem; align-items: center }
header nav a:not(:hover), header nav .link:not(:hover) { text-decoration: none }
header nav .push { margin-left: auto }
header nav a[aria-current] { color: inherit; text-decoration: none; font-weight: 600 }
main { max-width: 52rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem }
main.narrow, .narrow { max-width: 26rem; margin-inline: auto }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem }
h2 { font-size: 1rem; margin: 0 0 .5rem }
p { margin: 0 0 1rem }
form { margin: 0 }
.card > :last-child { margin-bottom: 0 }
.soft, .look { color: var(--soft) }
.look { display: block; font-size: .875rem; margin-top: .25rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; font-weight: 400; vertical-align: top; padding: .25rem 1rem .25rem 0; overflow-wrap: anywhere }
th { color: var(--soft) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem;
  margin: 0 0 1rem }
.list { list-style: none; margin: 0 0 1.5rem; padding: 0 }
.list li { background: var(--card); border: 1px solid var(--line); padding: .75rem 1rem; margin-top: -1px }
.list li:first-child { border-radius: .75rem .75rem 0 0 }
.list li:last-child { border-radius: 0 0 .75rem .75rem }
.list li:only-child { border-radius: .75rem }
.list .when { float: right; color: var(--soft); font-size: .875rem; margin-left: 1rem }
button, .button { font: inherit; display: inline-block; padding: .5rem 1rem; border-radius: .5rem; cursor: pointer;
  border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); text-decoration: none }
button.quiet, .button.quiet { background: transparent; color: var(--accent) }
button.link { border: 0; padding: 0; background: none; color: var(--accent); text-decoration: underline }
button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
.actions { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .75rem; margin-top: 1.25rem }
.person { display: flex; width: 100%; gap: .75rem; align-items: center; text-align: left; margin-top: .75rem;
  background: transparent; color: inherit; border-color: var(--line) }
.person:hover, .person.hinted { border-color: var(--accent) }
.initial { display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: 50%;
  background: var(--accent); color: var(--on-accent); font-weight: 600 }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .25rem 1rem; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
pre { margin: 0; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere }
code { font-size: .9em }
`;
