/** What every script begins with. Times are Redis times; sequences are below 2^53, so Lua's doubles are exact, and are printed
 * with %.0f (F35). */
export const prelude = `
local function now_us() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
local function now_ms() return math.floor(now_us() / 1000) end
local function text(n) return string.format('%.0f', n) end
local function applied_seq(value) return value and tonumber(string.match(value, '^(%d+):')) or 0 end
local function changed_at(value) return value and tonumber(string.match(value, '^%d+:[^:]*:([^:]+):')) or 0 end
`;
