// One clock for all videos. It counts frames, not seconds: models pair their input's frames with
// the output's by number, also where the two have different frames per second.

const SPEEDS = [0.1, 0.25, 0.5, 1, 2];

// A video so many frames away jumps to the clock; a nearer one runs faster or slower.
const JUMP = 12;

// How long the clock stands still for a video that was in step and is late.
const PATIENCE_MS = 4000;

class Playback extends EventTarget {
  frame = 0;
  playing = false;
  // Until something is played or scrubbed, posters are enough.
  moved = false;
  loop = true;
  speed = 1;
  #videos = new Map();
  #last = 0;
  #wentOn = 0;

  constructor(clips) {
    super();
    const rates = clips.map((clip) => clip.fps);
    this.frames = Math.max(1, ...clips.map((clip) => clip.frames));
    this.fps = rates.sort((a, b) => count(rates, b) - count(rates, a))[0] ?? 24;
  }

  add(video, clip) {
    // At the beginning the clock waits for all; later nobody waits for one that comes into view.
    this.#videos.set(video, { clip, inStep: this.frame < 1, ahead: 0, sitsOut: false });
    video.addEventListener("loadedmetadata", () => this.#place(video, clip), { once: true });
  }

  remove(video) {
    this.#videos.delete(video);
  }

  play() {
    if (this.playing) return;
    if (this.frame >= this.frames - 1) this.frame = 0;
    this.playing = this.moved = true;
    this.#last = this.#wentOn = performance.now();
    this.#tell();
    requestAnimationFrame(this.#tick);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.seek(Math.floor(this.frame));
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  step(frames) {
    this.pause();
    const next = Math.floor(this.frame) + frames;
    this.seek(this.loop ? (next + this.frames) % this.frames : next);
  }

  seek(frame) {
    this.frame = Math.min(Math.max(0, frame), this.frames - 1);
    this.moved = true;
    for (const [video, { clip }] of this.#videos) this.#place(video, clip);
    this.#tell();
  }

  set(name, value) {
    this[name] = value;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  #tick = (now) => {
    if (!this.playing) return;
    // After a pause of the page, as in another tab, it goes on where it was.
    const passed = Math.min(now - this.#last, 250) / 1000;
    this.#last = now;
    this.frame += passed * this.fps * this.speed * this.#pace(now);
    if (this.frame >= this.frames) {
      if (!this.loop) {
        this.frame = this.frames - 1;
        return this.pause();
      }
      this.frame %= this.frames;
      // Each round begins together.
      for (const state of this.#videos.values()) state.inStep = true;
    }
    for (const [video, state] of this.#videos) this.#follow(video, state);
    this.dispatchEvent(new Event("time"));
    requestAnimationFrame(this.#tick);
  };

  // Put a video that stands on its frame: into the middle of it, so that no rounding shows another.
  #place(video, clip) {
    if (this.playing) return;
    video.pause();
    const time = (Math.min(Math.floor(this.frame), clip.frames - 1) + 0.5) / clip.fps;
    if (Math.abs(video.currentTime - time) > 0.1 / clip.fps) video.currentTime = time;
  }

  // How fast the clock may go, 0 to 1: slower machines get slower videos, but all in step.
  #pace(now) {
    let late = 0;
    for (const [video, { clip, inStep }] of this.#videos) {
      if (!inStep || video.error || this.frame >= clip.frames - 1) continue;
      const waits = video.seeking || video.readyState < 3;
      late = Math.max(late, waits ? JUMP : this.frame - video.currentTime * clip.fps);
    }
    const pace = Math.min(1, Math.max(0, 1.25 - late / 4));
    if (pace > 0) this.#wentOn = now;
    if (now - this.#wentOn < PATIENCE_MS) return pace;
    for (const state of this.#videos.values()) state.inStep = false;
    return 1;
  }

  // A jump takes its time: each one that came too late aims further ahead, and waits there.
  #jump(video, state) {
    const { clip, ahead } = state;
    state.ahead = Math.min(96, Math.max(8, 2 * ahead));
    const aim = this.frame + state.ahead;
    video.pause();
    // Too late for this round, it waits for the next one.
    state.sitsOut = aim >= clip.frames;
    video.currentTime = (state.sitsOut ? 0 : aim) / clip.fps;
  }

  // Keep a video that runs with the clock.
  #follow(video, state) {
    const { clip } = state;
    if (video.readyState < 2 || video.seeking) return;
    if (this.frame >= clip.frames - 0.5) {
      if (!video.paused) video.pause();
      return;
    }
    const drift = video.currentTime * clip.fps - this.frame;
    if (state.sitsOut && drift < -1) return;
    state.sitsOut = false;
    if (Math.abs(drift) < 2) Object.assign(state, { inStep: true, ahead: 0 });
    if (drift < -JUMP || drift > JUMP + state.ahead) return this.#jump(video, state);
    const correction = Math.abs(drift) < 0.1 ? 1 : Math.min(1.5, Math.max(0.5, 1 - 0.3 * drift));
    const rate = Math.min(16, Math.max(0.0625, ((this.fps * this.speed) / clip.fps) * correction));
    if (Math.abs(video.playbackRate - rate) > 0.01) video.playbackRate = rate;
    // Slower than half is none: a video that is ahead stands until the clock has come.
    if (drift > 1.5) video.pause();
    else if (video.paused && drift < 0.5) video.play().catch(() => {});
  }
}

const count = (values, value) => values.filter((each) => each === value).length;
