/** Style sheets that the bundler gives as text. */
declare module '*/style.css' {
  const text: string;
  export default text;
}
