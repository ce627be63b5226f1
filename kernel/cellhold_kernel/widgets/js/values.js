// Numbers formatted for people. null is "not measured", never 0.

export function bytes(value) {
  if (value === null || value === undefined) return "not measured";
  for (const [unit, factor] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= factor) return `${(value / factor).toFixed(value >= 100 * factor ? 0 : 1)} ${unit}`;
  }
  return `${Math.round(value)} bytes`;
}
export const cores = (value) => (value === null ? "not measured" : value.toFixed(2));
export const count = (value) => (value === null ? "not measured" : String(Math.round(value)));
export const rate = (value) => (value === null ? "not measured" : `${bytes(value)}/s`);
export const seconds = (value) => (value === null ? "–" : value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);
export const ago = (value) => (value < 60 ? `−${Math.round(value)} s` : `−${Math.round(value / 60)} min`);

export function against(now, limit, show, unit) {
  if (now === null) return "not measured";
  const suffix = unit ? ` ${unit}` : "";
  return limit ? `${show(now)} / ${show(limit)}${suffix} (${Math.round((100 * now) / limit)} %)` : `${show(now)}${suffix}, no limit`;
}
